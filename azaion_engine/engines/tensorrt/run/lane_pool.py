"""LanePool: hands lanes out to threads and measures how long each is in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from azaion_engine.engines.tensorrt.run.lane import Lane


class LanePoolClosed(Exception):  # noqa: N818
    """The pool is closed and hands out no more lanes."""


class LanePool:
    """A few lanes, each used by one thread at a time."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        """Takes the lanes over."""
        self._free = list(reversed(lanes))
        self._taken_at: dict[Lane, float] = {}
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def take(self, most: int = 1, least: int = 1) -> Iterator[list[Lane]]:
        """Waits until at least `least` lanes are free, then takes up to `most` of the free ones.

        Args:
            most: Maximum number of lanes to take.
            least: Number of lanes to wait for; with 0 the list may be empty.

        Raises:
            LanePoolClosed: The pool was closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) >= least or self._closed)
            if self._closed:
                raise LanePoolClosed
            taken = [self._free.pop() for _ in range(min(most, len(self._free)))]
            self._taken_at |= dict.fromkeys(taken, time.monotonic())
        try:
            yield taken
        finally:
            with self._changed:
                for lane in reversed(taken):
                    del self._taken_at[lane]
                    self._free.append(lane)
                self._changed.notify_all()

    def longest_s(self) -> float:
        """Returns how long the longest-held lane has been in use, in seconds; 0 if none is."""
        with self._changed:
            return time.monotonic() - min(self._taken_at.values()) if self._taken_at else 0.0

    def close(self, patience_s: float) -> bool:
        """Closes the pool to further `take` calls and waits until all lanes are returned.

        Args:
            patience_s: Timeout in seconds.

        Returns:
            Whether all lanes were returned in time.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._taken_at, patience_s)
