"""LanePool: hands lanes out to threads, and knows how long each has been away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from azaion_engine.engines.tensorrt.run.lane import Lane


class LanePoolClosed(Exception):  # noqa: N818
    """No lane will ever be handed out again."""


class LanePool:
    """A few lanes, each in one thread's hands at a time."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        """Takes the lanes over."""
        self._free = list(reversed(lanes))
        self._taken_at: dict[Lane, float] = {}
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def take(self, most: int = 1, least: int = 1) -> Iterator[list[Lane]]:
        """Waits until enough lanes are free and takes them, and others that are free.

        Args:
            most: Lanes to take at most.
            least: Lanes to wait for; with 0 the list may be empty.

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
        """Returns for how many seconds some lane has been in the same hands."""
        with self._changed:
            return time.monotonic() - min(self._taken_at.values()) if self._taken_at else 0.0

    def close(self, patience_s: float) -> bool:
        """Lets nobody take a lane any more, and waits until all are back.

        Args:
            patience_s: Seconds to wait at most.

        Returns:
            Whether all are back.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._taken_at, patience_s)
