"""Deadline: bounds the time of a block of asynchronous code."""

from __future__ import annotations

import asyncio
from types import TracebackType

from deployments.errors import DeadlineExceededError


class Deadline:
    """Cancels what its task waits for in the block when time is up, and raises DeadlineExceededError in its place.

    As asyncio.timeout, which Python 3.10 lacks; unlike asyncio.wait and wait_for it costs no second task.
    """

    def __init__(self, seconds: float, late: str = "no answer") -> None:
        """Prepares it; time runs from the beginning of the block.

        Args:
            seconds: How long the block may take.
            late: What was not there in time, for the message.
        """
        self._seconds = seconds
        self._late = late
        self._over = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._over and kind is asyncio.CancelledError:
            # From Python 3.11 on a task counts who cancels it: whoever else did is heard first.
            uncancel = getattr(self._task, "uncancel", None)
            if uncancel is None or not uncancel():
                raise DeadlineExceededError(f"{self._late} within {self._seconds:g} s") from None

    def _end(self) -> None:
        self._over = True
        assert self._task is not None  # there is one wherever a block can wait
        self._task.cancel()
