"""Places: a semaphore that refuses instead of waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import OverloadedError


class Places:
    """Semaphore that refuses instead of waiting; used from one event loop only.

    `with places:` takes a place for the duration of the block, or raises OverloadedError.
    """

    def __init__(self, limit: int, full: str) -> None:
        """Creates the places, all free.

        Args:
            limit: Maximum number of places taken at a time.
            full: Message of the refusal.
        """
        self.limit = limit
        self._full = full
        self._taken = 0

    @property
    def taken(self) -> int:
        """Number of places taken now."""
        return self._taken

    def refuse_when_full(self) -> None:
        """Raises an error if no place is free.

        Raises:
            OverloadedError: Every place is taken.
        """
        if self._taken >= self.limit:
            raise OverloadedError(f"{self._full}; try again later")

    def __enter__(self) -> None:
        self.refuse_when_full()
        self._taken += 1

    def __exit__(self, *_: object) -> None:
        self._taken -= 1

    @contextmanager
    def more(self, wanted: int) -> Iterator[int]:
        """Takes further places for the duration of the block, as many as leave half of the free ones to others.

        Args:
            wanted: Maximum number to take.

        Yields:
            Number of places taken, 0 or more.
        """
        taken = max(0, min(wanted, (self.limit - self._taken) // 2))
        self._taken += taken
        try:
            yield taken
        finally:
            self._taken -= taken
