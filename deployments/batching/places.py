"""Places: a bounded number of them, each taken for as long as a block lasts."""

from __future__ import annotations

from deployments.errors import OverloadedError


class Places:
    """Refuses whoever comes when all are taken; used from one event loop only.

    `with places:` takes one for as long as the block lasts, or raises OverloadedError.
    """

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
        """Raises what a block would raise now.

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
