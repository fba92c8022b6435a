"""Deadline: timeout for a block of asynchronous code, which others may end before."""

from __future__ import annotations

import asyncio
from types import TracebackType

from deployments.errors import DeadlineExceededError


class Deadline:
    """Context manager that cancels its block on timeout and raises DeadlineExceededError instead.

    Like asyncio.timeout, which Python 3.10 lacks; unlike asyncio.wait and wait_for it needs no second task.
    """

    def __init__(self, seconds: float, late: str = "no answer") -> None:
        """Stores the timeout, which starts with the block.

        Args:
            seconds: Timeout of the block.
            late: Start of the error message: what was not ready in time.
        """
        self._seconds = seconds
        self._late = late
        self._over: Exception | None = None

    def __enter__(self) -> Deadline:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._over is not None and kind is asyncio.CancelledError:
            # From Python 3.11 on, a task counts its cancellations: any other one takes precedence over the timeout.
            uncancel = getattr(self._task, "uncancel", None)
            if uncancel is None or not uncancel():
                raise self._over from None

    def end(self, error: Exception) -> None:
        """Cancels the block, which then raises an error; without effect if it was cancelled already.

        Args:
            error: What the block raises.
        """
        if self._over is None:
            self._over = error
            assert self._task is not None  # only a task can wait in the block
            self._task.cancel()

    def _expire(self) -> None:
        self.end(DeadlineExceededError(f"{self._late} within {self._seconds:g} s"))
