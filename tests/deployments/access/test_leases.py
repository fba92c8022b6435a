"""Several replicas that keep the limits of one key together: with their ledger, without it, and after it came back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployments.access import leases
from deployments.access.leases import Leases
from deployments.access.ledger import Grant, Ledger
from deployments.access.quota import Limits
from tests.deployments.access.clocks import FakeClock


class Replicas:
    """Replicas before one ledger, which tests can take away."""

    def __init__(self, number: int) -> None:
        self.clock = FakeClock()
        self.ledger = self.new_ledger()
        self.away = False
        self.hangs = False
        self.calls = 0
        self.each = [Leases(self._link(f"replica {i}"), number, self.clock, self.clock) for i in range(number)]

    def new_ledger(self) -> Ledger:
        return Ledger(self.clock, self.clock)

    def _link(self, replica: str) -> Any:
        async def ask(*question: Any) -> Grant:
            self.calls += 1
            await asyncio.sleep(0)
            if self.hangs:
                await asyncio.sleep(60)
            if self.away:
                raise ConnectionError("no ledger")
            return self.ledger.exchange(replica, *question)

        return ask

    async def send(self, limits: Limits, tries: int, at_once: bool = False) -> int:
        """Sends single pictures, to one replica after the other; returns how many were accepted."""
        asked = [self.each[i % len(self.each)].take("lab", limits) for i in range(tries)]
        results = await asyncio.gather(*asked) if at_once else [await each for each in asked]
        return sum(result is None for result in results)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("number", [1, 2, 8])
def test_replicas_keep_a_rate_together(number, at_once):
    async def test() -> None:
        replicas = Replicas(number)
        limits = Limits(100, 100, None)
        sent = await replicas.send(limits, 1000, at_once)
        assert 100 - 2 * number <= sent <= 100
        for _ in range(20):  # 4 s
            replicas.clock.now += 0.2
            sent += await replicas.send(limits, 100, at_once)
        assert 480 <= sent <= 500

    run(test)


def test_most_requests_ask_no_ledger():
    async def test() -> None:
        replicas = Replicas(2)
        limits = Limits(1000, 1000, None)
        for _ in range(100):  # 10 s at 900 a second
            replicas.clock.now += 0.1
            assert await replicas.send(limits, 90) == 90
        assert replicas.calls < 9000 / 50

    run(test)


def test_refused_requests_ask_no_ledger():
    async def test() -> None:
        replicas = Replicas(2)
        assert await replicas.send(Limits(0.1, 1, None), 1000) == 1
        assert replicas.calls <= 4

    run(test)


@pytest.mark.parametrize("daily", [1, 3, 50, 1000])
def test_replicas_keep_a_daily_number_together(daily):
    async def test() -> None:
        replicas = Replicas(4)
        limits = Limits(None, 1, daily)
        first = await replicas.send(limits, daily // 2)
        assert first == daily // 2
        sent = first + await replicas.send(limits, 10 * daily + 100)
        assert sent == daily
        refusal = await replicas.each[0].take("lab", limits)
        assert refusal.daily
        assert refusal.wait_s == pytest.approx(43200)
        replicas.clock.now += 43201
        assert await replicas.send(limits, daily) == daily

    run(test)


def test_the_other_pictures_of_a_request_are_paid_for_by_all_replicas():
    async def test() -> None:
        replicas = Replicas(2)
        limits = Limits(10, 10, None)
        assert await replicas.send(limits, 1) == 1
        replicas.each[0].charge("lab", 39)
        await replicas.send(limits, 40)  # the rest of the burst, and the ledger hears of the debt
        replicas.clock.now += 2
        assert await replicas.send(limits, 100) == 0
        replicas.clock.now += 2.2
        assert await replicas.send(limits, 100) >= 1

    run(test)


@pytest.mark.parametrize("fault", ["away", "hangs"])
def test_without_its_ledger_each_replica_keeps_to_its_even_part(fault, monkeypatch):
    monkeypatch.setattr(leases, "ANSWER_S", 0.05)

    async def test() -> None:
        replicas = Replicas(4)
        setattr(replicas, fault, True)
        limits = Limits(8, 16, 1000)
        assert await replicas.send(limits, 400) == 16
        replicas.clock.now += 1
        assert await replicas.send(limits, 400) == 8
        only_one = Limits(8, 16, 4)
        alone = Replicas(4)
        setattr(alone, fault, True)
        assert await alone.send(only_one, 400) == 4

    run(test)


def test_an_outage_does_not_open_the_door_again_and_again():
    async def test() -> None:
        replicas = Replicas(2)
        limits = Limits(1, 10, None)
        assert await replicas.send(limits, 100) == 10
        replicas.away = True
        sent = 0
        for _ in range(30):
            replicas.clock.now += 1
            sent += await replicas.send(limits, 100)
        assert sent <= 30 + 10  # the rate, and once a burst

    run(test)


def test_a_ledger_that_comes_back_takes_off_what_was_sent_without_it():
    async def test() -> None:
        replicas, limits = Replicas(2), Limits(0.01, 10, None)
        replicas.away = True
        assert await replicas.send(limits, 40) == 10
        replicas.away = False
        replicas.clock.now += leases.ALONE_S
        assert await replicas.send(limits, 40) <= 1  # the first replica asks before the other has told of its part

    run(test)


def test_a_new_ledger_learns_what_was_used_today():
    async def test() -> None:
        replicas = Replicas(2)
        limits = Limits(None, 1, 100)
        assert await replicas.send(limits, 60) == 60
        replicas.ledger = replicas.new_ledger()
        for replica in replicas.each:  # each tells what it used with its next question
            lease = replica._leases["lab"]
            await replica._renew("lab", lease, want=False)
        assert await replicas.send(limits, 1000) == 40

    run(test)


def test_what_an_idle_replica_holds_goes_back(monkeypatch):
    monkeypatch.setattr(leases, "IDLE_S", 0.01)

    async def test() -> None:
        replicas = Replicas(2)
        busy, idle = replicas.each
        limits = Limits(100, 100, None)
        assert await idle.take("lab", limits) is None
        assert idle._leases["lab"].left > 0
        replicas.clock.now += 1
        await asyncio.sleep(0.2)
        assert idle._leases["lab"].left == 0
        assert sum([await busy.take("lab", limits) is None for _ in range(300)]) == 100

    run(test)


def test_changed_limits_are_asked_for_at_once():
    async def test() -> None:
        replicas = Replicas(2)
        assert await replicas.send(Limits(None, 1, 1), 10) == 1
        assert await replicas.send(Limits(None, 1, 11), 100) == 10

    run(test)


def test_a_request_that_is_cancelled_leaves_others_their_answer():
    async def test() -> None:
        replicas = Replicas(2)
        limits = Limits(10, 10, None)
        [one, _] = replicas.each
        asked = [asyncio.create_task(one.take("lab", limits)) for _ in range(3)]
        await asyncio.sleep(0)
        asked[0].cancel()
        assert await asyncio.gather(*asked[1:]) == [None, None]

    run(test)
