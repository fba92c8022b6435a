"""Places: a bounded number of them, each taken for as long as a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from azaion_engine.errors import OverloadedError


class Places:
    """Refuses whoever comes when all are taken; used from one event loop only."""

    def __init__(self, limit: int, full: str) -> None:
        """Opens them.

        Args:
            limit: Most places taken at a time.
            full: What to tell whom there is none for.
        """
        self.limit = limit
        self._full = full
        self._taken = 0

    @property
    def taken(self) -> int:
        """Places taken now."""
        return self._taken

    def refuse_when_full(self) -> None:
        """Raises what `take` would raise now.

        Raises:
            OverloadedError: Every place is taken.
        """
        if self._taken >= self.limit:
            raise OverloadedError(f"{self._full}; try again later")

    @contextmanager
    def take(self) -> Iterator[None]:
        """Takes a place for as long as the block lasts.

        Raises:
            OverloadedError: Every place is taken.
        """
        self.refuse_when_full()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
