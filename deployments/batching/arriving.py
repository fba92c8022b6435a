"""ArrivingBodies: how many bodies may arrive at a time, and how slowly."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployments.batching.deadline import Deadline
from deployments.errors import OverloadedError, SlowBodyError

MINIMUM_RATE = 2048
"""Bytes a second that a body must bring; a quarter of what a weak mobile connection brings (GPRS: 40 to 60 kbit/s)."""

WINDOW_S = 10
"""Seconds over which the rate is taken; a body younger than that is ended for the sake of others only."""

YOUNGEST_S, YOUNGEST_OF_MANY_S = 1.0, 0.25
"""Age from which on a slow body gives its place to another one, seconds; the second value is for the bodies of a client
that has more than half of all places."""

WHOLE_BODY = "azaion.whole_body"
"""Key of an ASGI scope that says that all of the request's body was here when it began."""

_LOOK_S = 1.0


def too_slow(seconds: float) -> str:
    """Returns the message of the refusal of a slow body."""
    return f"the body brought less than {MINIMUM_RATE} bytes a second for {seconds:g} s; send it faster"


@dataclass(eq=False)
class _Body:
    """One arriving body.

    Attributes:
        client: Whose it is.
        received: Returns the number of its bytes that have arrived.
        deadline: Ends it.
        seen: Times and bytes at that time, at its begin and at each look, over the last `WINDOW_S`.
    """

    client: str
    received: Callable[[], int]
    deadline: Deadline
    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=WINDOW_S + 1))

    def rate(self, now: float) -> float:
        """Returns the bytes a second over the last `WINDOW_S`, or since its begin."""
        since, bytes_then = self.seen[0]
        return (self.received() - bytes_then) / max(now - since, 1e-3)


class ArrivingBodies:
    """The bodies that are arriving at one replica; used from one event loop only.

    A body that brings less than `MINIMUM_RATE` over `WINDOW_S` is ended. When all places are taken, one that is slower
    than that gives its place to the next body, before its window is over: the slowest one of the client that has the
    most. So clients that send slowly never keep the others out, however many they are.
    """

    def __init__(self, limit: int, timeout_s: float) -> None:
        """Creates the places, all free.

        Args:
            limit: Maximum number of bodies arriving at a time.
            timeout_s: Seconds within which a body must be complete.
        """
        self._limit = limit
        self._timeout_s = timeout_s
        self._bodies: dict[_Body, None] = {}
        self._looking: asyncio.TimerHandle | None = None

    @property
    def number(self) -> int:
        """Number of bodies that are arriving now."""
        return len(self._bodies)

    @contextmanager
    def arriving(self, client: str, received: Callable[[], int]) -> Iterator[None]:
        """Takes a place for the duration of the block, which reads one body.

        Args:
            client: Address of the client.
            received: Returns the number of bytes of this body that have arrived.

        Raises:
            OverloadedError: Every place is taken, or this body was slow when others needed its place.
            SlowBodyError: The body brought less than `MINIMUM_RATE` over `WINDOW_S`.
            DeadlineExceededError: The body was not complete in time.
        """
        now = time.monotonic()
        if len(self._bodies) >= self._limit:
            self._make_room(client, now)
        with Deadline(self._timeout_s, "the body did not arrive") as deadline:
            body = _Body(client, received, deadline)
            body.seen.append((now, received()))
            self._bodies[body] = None
            self._look_later()
            try:
                yield
            finally:
                self._bodies.pop(body, None)

    def _make_room(self, client: str, now: float) -> None:
        """Ends the slowest body of the client that has the most."""
        bodies_of = Counter(body.client for body in self._bodies)
        # The places of a newcomer's own address are not taken from it sooner for another one of it.
        youngest = {
            other: YOUNGEST_OF_MANY_S if 2 * count > self._limit and other != client else YOUNGEST_S
            for other, count in bodies_of.items()
        }
        slow = [
            (bodies_of[body.client], -rate, body)
            for body in self._bodies
            if now - body.seen[0][0] >= youngest[body.client] and (rate := body.rate(now)) < MINIMUM_RATE
        ]
        if not slow:
            raise OverloadedError(f"{self._limit} bodies are arriving at the moment; try again later")
        _, _, slowest = max(slow, key=lambda each: each[:2])
        del self._bodies[slowest]
        slowest.deadline.end(
            OverloadedError(
                f"{self._limit} bodies are arriving at the moment, and this one brought less than {MINIMUM_RATE} "
                "bytes a second; try again later"
            )
        )

    def _look_later(self) -> None:
        if self._looking is None:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(_LOOK_S, self._look, loop.time() + _LOOK_S)

    def _look(self, due: float) -> None:
        """Ends what was too slow; looks again as long as bodies are arriving."""
        self._looking = None
        now = time.monotonic()
        late = asyncio.get_running_loop().time() - due > _LOOK_S
        for body in list(self._bodies):
            if late:  # this process stood still, and may not have read what has arrived
                body.seen.clear()
            elif len(body.seen) > WINDOW_S and body.rate(now) < MINIMUM_RATE:
                del self._bodies[body]
                body.deadline.end(SlowBodyError(too_slow(WINDOW_S)))
                continue
            body.seen.append((now, body.received()))
        if self._bodies:
            self._look_later()
