"""BatchGate: lets requests into `@serve.batch` in waves (batches) that the engine can take at once.

`@serve.batch` alone closes a batch when its timer ends, even while the engine is busy, and never merges closed
batches; under load it then runs many small batches. With the gate in front its timer is zero, and the gate decides:

- An idle engine takes all waiting requests at once: a single request waits for no timer.
- While one batch runs, another is let in only when it is full, so that the engine never waits for the event loop
  between full batches. A batch that is not full keeps collecting until the engine is free. (A shared engine adds other
  clients' pictures; there, further batches are let in at a smaller size, the second also after `QUARTER` of a batch's
  duration.)
- At most one batch more than those that run is let in, so that waiting requests can still join a batch, be cancelled
  or be refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

from deployments.batching.places import Places

MAX_WAVES = 4
"""Maximum number of batches let in: those that run, and one more that starts as soon as one of them ends."""

QUARTER = 0.25
"""Share of the previous batch's duration for which a second batch that is too small keeps collecting.

A much smaller share lowers the rate: clients that were just answered need longer to send their next request.
"""

FIRST_S = 1.0
"""Assumed duration of a batch until one has ended, seconds."""


class Wave:
    """A batch that was let in; it is over when its last member has left."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.began = time.monotonic()


class BatchGate:
    """Holds requests back until the engine can take them; used from one event loop only.

    Attributes:
        batch_size: Maximum number of requests let in together.
        places: Limits the requests held: decoding, waiting or running.
    """

    def __init__(self, batch_size: int, max_queue: int, lanes: int = 1, second: int | None = None) -> None:
        """Creates a gate without requests.

        Args:
            batch_size: Maximum number of requests let in together.
            max_queue: Maximum number of requests held at a time, running ones included.
            lanes: Number of batches that the engine runs concurrently.
            second: Minimum size of a batch started beside running ones; the second may be smaller once it has collected
                for `QUARTER` of a batch's duration. Default: a full batch, however long it collects.
        """
        self._second = batch_size if second is None else second
        self._most_waves = min(lanes + 1, MAX_WAVES)
        self.batch_size = batch_size
        self.places = Places(max_queue, f"the queue is full ({max_queue} pictures)")
        self._waiting: deque[asyncio.Future[Wave]] = deque()
        self._waves = 0
        self._took = FIRST_S
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waves(self) -> int:
        """Batches let in that are not over."""
        return self._waves

    async def enter(self) -> Wave:
        """Waits until this request is let in; the caller must then call `leave`.

        Returns:
            The batch of this request.
        """
        waiter: asyncio.Future[Wave] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._let_in()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # `_let_wave_in` has removed it already
                    self._waiting.remove(waiter)
            elif waiter.done():
                self.leave(waiter.result())  # let in and cancelled in the same iteration of the loop
            raise

    def leave(self, wave: Wave) -> None:
        """Removes a request from its batch; after the last one, the next batch may be let in."""
        wave.members -= 1
        if wave.members == 0:
            self._waves -= 1
            self._took = time.monotonic() - wave.began
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._waves < self._most_waves:
            if len(self._waiting) < (self._second if self._waves else 1):
                if self._waves == 1 and self._second < self.batch_size and self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(self._took * QUARTER, self._let_second_in)
                return
            self._let_wave_in()

    def _let_second_in(self) -> None:
        self._timer = None
        if self._waves == 1:
            self._let_wave_in()

    def _let_wave_in(self) -> None:
        if self._timer is not None:  # it was for the requests that are let in now
            self._timer.cancel()
            self._timer = None
        members = [self._waiting.popleft() for _ in range(min(self.batch_size, len(self._waiting)))]
        members = [waiter for waiter in members if not waiter.cancelled()]
        if members:
            self._waves += 1
            wave = Wave(len(members))
            for waiter in members:
                waiter.set_result(wave)
