"""ArrivingBodies: slow bodies end, and never keep others out; the clock is the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from unittest import mock

import pytest

from deployments.batching import arriving
from deployments.batching.arriving import MINIMUM_RATE, WINDOW_S, ArrivingBodies
from deployments.errors import AzaionError, DeadlineExceededError, OverloadedError, SlowBodyError


class Clock:
    """Time of the event loop and of the module; passes as fast as nothing else is to do."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    async def pass_by(self, seconds: float, step: float = 0.25, each: Callable[[], None] = lambda: None) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += step
            each()
            for _ in range(4):
                await asyncio.sleep(0)


def run(scenario: Callable[[Clock], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.new_event_loop()
    clock = Clock()
    with mock.patch.object(loop, "time", clock.time), mock.patch.object(arriving, "time") as module:
        module.monotonic = clock.time
        try:
            loop.run_until_complete(scenario(clock))
        finally:
            loop.close()


class Sender:
    """One client's body, in a task of its own."""

    def __init__(self, bodies: ArrivingBodies, client: str = "10.0.0.1") -> None:
        self.received = 0
        self.complete = asyncio.Event()
        self.error: Exception | None = None
        self.task = asyncio.get_running_loop().create_task(self._send(bodies, client))

    async def _send(self, bodies: ArrivingBodies, client: str) -> None:
        try:
            with bodies.arriving(client, lambda: self.received):
                await self.complete.wait()
        except AzaionError as error:
            self.error = error

    async def end(self) -> None:
        self.complete.set()
        with suppress(asyncio.CancelledError):
            await self.task


def test_a_body_below_the_minimum_rate_ends_after_the_window_and_a_slow_honest_one_does_not() -> None:
    async def scenario(clock: Clock) -> None:
        bodies = ArrivingBodies(8, 60)
        slow, mobile, silent = Sender(bodies), Sender(bodies), Sender(bodies)

        def send() -> None:
            slow.received += 250  # 1,000 bytes a second
            mobile.received += 2000

        await clock.pass_by(WINDOW_S - 1, each=send)
        assert bodies.number == 3
        await clock.pass_by(3, each=send)
        assert isinstance(slow.error, SlowBodyError)
        assert str(MINIMUM_RATE) in str(slow.error)
        assert str(WINDOW_S) in str(slow.error)
        assert isinstance(silent.error, SlowBodyError)
        assert bodies.number == 1
        await clock.pass_by(20, each=send)
        await mobile.end()
        assert mobile.error is None
        assert bodies.number == 0

    run(scenario)


def test_what_was_sent_at_once_does_not_excuse_what_follows() -> None:
    async def scenario(clock: Clock) -> None:
        bodies = ArrivingBodies(8, 60)
        sender = Sender(bodies)
        await clock.pass_by(0.25)
        sender.received = 10**6
        await clock.pass_by(WINDOW_S)
        assert sender.error is None
        await clock.pass_by(3)
        assert isinstance(sender.error, SlowBodyError)

    run(scenario)


def test_a_slow_body_gives_its_place_to_the_next_one_and_a_quick_one_does_not() -> None:
    async def scenario(clock: Clock) -> None:
        bodies = ArrivingBodies(2, 60)
        slow, quick = Sender(bodies), Sender(bodies, "10.0.0.2")

        def send() -> None:
            slow.received += 1
            quick.received += 2000

        await clock.pass_by(0.5, each=send)
        early = Sender(bodies, "10.0.0.3")
        await clock.pass_by(0.25, each=send)
        assert isinstance(early.error, OverloadedError), "a body is slow only after a while"
        await clock.pass_by(0.5, each=send)
        next_one = Sender(bodies, "10.0.0.4")
        await clock.pass_by(0.25, each=send)
        assert isinstance(slow.error, OverloadedError)
        assert (next_one.error, quick.error, bodies.number) == (None, None, 2)
        await next_one.end()
        await quick.end()
        assert (next_one.error, quick.error, bodies.number) == (None, None, 0)

    run(scenario)


def test_a_client_with_more_than_half_of_the_places_gives_one_up_sooner_to_another_client() -> None:
    async def scenario(clock: Clock) -> None:
        bodies = ArrivingBodies(4, 60)
        many, lone = [Sender(bodies) for _ in range(3)], Sender(bodies, "10.0.0.2")
        await clock.pass_by(0.5)
        own = Sender(bodies)
        await clock.pass_by(0.25, step=0.05)
        assert isinstance(own.error, OverloadedError), "not to itself"
        other = Sender(bodies, "10.0.0.3")
        await clock.pass_by(0.05, step=0.05)
        assert sum(sender.error is not None for sender in many) == 1
        assert (lone.error, other.error) == (None, None)
        for sender in (*many, lone, other):
            await sender.end()

    run(scenario)


def test_bodies_are_not_blamed_for_a_time_in_which_this_process_stood_still() -> None:
    async def scenario(clock: Clock) -> None:
        bodies = ArrivingBodies(2, 60)
        sender = Sender(bodies)
        await clock.pass_by(1)
        await clock.pass_by(WINDOW_S + 5, step=WINDOW_S + 5)
        assert sender.error is None
        await clock.pass_by(WINDOW_S + 2)
        assert isinstance(sender.error, SlowBodyError)

    run(scenario)


def test_a_body_that_is_not_complete_in_time_ends_and_nothing_is_watched_without_bodies() -> None:
    async def scenario(clock: Clock) -> None:
        bodies = ArrivingBodies(2, 3)
        sender = Sender(bodies)
        await clock.pass_by(4)
        assert isinstance(sender.error, DeadlineExceededError)
        await clock.pass_by(2)
        assert bodies._looking is None
        with pytest.raises(ZeroDivisionError), bodies.arriving("", lambda: 0):
            raise ZeroDivisionError
        assert bodies.number == 0

    run(scenario)
