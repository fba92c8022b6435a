"""RecentPictures: pictures of the last requests, kept in memory to compare a new version of the model on them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

EVERY_S = 1.0
"""Seconds between two pictures that are kept, so that they are not all of one moment."""

MOST_BYTES = 64 * 2**20
"""Bytes of all pictures that are kept, at most; a larger picture is not kept."""


class RecentPictures:
    """The latest pictures of one replica, encoded; used from one event loop. They are written nowhere."""

    def __init__(self, most: int, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        """Begins without pictures.

        Args:
            most: Pictures kept, at most.
            most_bytes: Their bytes, at most.
            clock: Seconds that never go back.
        """
        self._most, self._most_bytes = most, most_bytes
        self._clock = clock
        self._pictures: deque[bytes] = deque()
        self._bytes = 0
        self._due = clock()

    def add(self, picture: bytes) -> None:
        """Keeps a picture in place of the oldest one, unless the last was kept within `EVERY_S`."""
        now = self._clock()
        if now < self._due or len(picture) > self._most_bytes:
            return
        self._due = now + EVERY_S
        self._pictures.append(bytes(picture))
        self._bytes += len(picture)
        while len(self._pictures) > self._most or self._bytes > self._most_bytes:
            self._bytes -= len(self._pictures.popleft())

    def kept(self) -> tuple[bytes, ...]:
        """Returns the pictures, the oldest first; from any thread."""
        return tuple(self._pictures.copy())
