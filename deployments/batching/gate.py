"""BatchGate: lets requests into `@serve.batch` in waves that the engine can take at once.

`@serve.batch` alone seals a batch when its timer ends, even while the engine is busy, and never merges
sealed batches; under load it then runs small batches one after the other. With the gate in front its
timer is zero and this is what decides:

- an idle engine takes whatever waits, at once: a lone request waits for no timer;
- while one batch runs, another is let in only when it is full, so the engine never waits for the event
  loop between full batches, and a batch that is not full goes on collecting until the engine is free
  (where the engine is shared and fills it up with others' pictures, a second one is let in sooner: when it is smaller,
  or has waited for a quarter of a batch's time);
- never more than one beyond those that run, so that what waits can still be filled up, cancelled or refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress

from deployments.batching.places import Places

MAX_WAVES = 3
"""Batches let in at a time at most: the one or two that run, and the full one that starts the moment one ends."""

QUARTER = 0.25
"""Share of the time that the batch before took, for which a second one that is too small goes on collecting.

With eight replicas before a shared engine and four clients each: 0.2 to 0.35 give the same rate. A tenth of it cost a
tenth of the rate with eight clients each: the next request of a client whose answer came takes longer to come in.
"""

FIRST_S = 1.0
"""What a batch is taken to last until one has ended."""


class Wave:
    """One batch on its way through the engine; it is over when its last member has left."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.began = time.monotonic()


class BatchGate:
    """Holds requests back until the engine can take them; used from one event loop only.

    Attributes:
        batch_size: Most requests let in together.
        places: One for each request in the house: decoding, waiting or running.
    """

    def __init__(self, batch_size: int, max_queue: int, lanes: int = 1, second: int | None = None) -> None:
        """Opens the gate.

        Args:
            batch_size: Most requests let in together.
            max_queue: Most requests admitted at a time, those that run included.
            lanes: Batches that the engine runs at a time.
            second: Fewest requests let in together while one batch runs, unless they have waited for a `QUARTER` of
                a batch's time; default: a full one, however long they wait.
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
        """Waits for this request's turn; whoever was let in must `leave`.

        Returns:
            The batch that it was let in with.
        """
        waiter: asyncio.Future[Wave] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._let_in()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with suppress(ValueError):  # passed over already
                    self._waiting.remove(waiter)
            elif waiter.done():
                self.leave(waiter.result())  # let in and cancelled in the same turn of the loop
            raise

    def leave(self, wave: Wave) -> None:
        """Gives a request's place back; when the last of its batch has, the next batch may be let in."""
        wave.members -= 1
        if wave.members == 0:
            self._waves -= 1
            self._took = time.monotonic() - wave.began
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._waves < self._most_waves:
            if len(self._waiting) < (1, self._second, self.batch_size)[min(self._waves, 2)]:
                if self._waves == 1 and self._second < self.batch_size and self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(self._took * QUARTER, self._let_second_in)
                return
            self._let_wave_in()

    def _let_second_in(self) -> None:
        self._timer = None
        if self._waves == 1:
            self._let_wave_in()

    def _let_wave_in(self) -> None:
        if self._timer is not None:  # for those who go in now
            self._timer.cancel()
            self._timer = None
        members = [self._waiting.popleft() for _ in range(min(self.batch_size, len(self._waiting)))]
        members = [waiter for waiter in members if not waiter.cancelled()]
        if members:
            self._waves += 1
            wave = Wave(len(members))
            for waiter in members:
                waiter.set_result(wave)
