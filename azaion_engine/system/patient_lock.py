"""PatientLock: a lock file of the operating system, with regular reports while waiting."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

WAIT_REPORT_S = 10.0
"""Seconds between two reports of a waiting process: building a plan takes minutes."""

_POLL_S = 0.1
# Where flock is missing, newer versions of filelock treat the file's existence as the lock: after a killed process all
# others would wait for ever. This option forbids that; older versions raise NotImplementedError.
_OPTIONS: dict[str, Any] = (
    {"fallback_to_soft": False} if "fallback_to_soft" in inspect.signature(FileLock.__init__).parameters else {}
)


class PatientLock:
    """A lock between processes: flock on a file, which the operating system releases when the process ends."""

    def __init__(self, path: Path) -> None:
        """Prepares the lock; `acquire` makes the file if it is missing."""
        self._lock = FileLock(path, **_OPTIONS)

    def acquire(self, waiting: Callable[[float], None]) -> None:
        """Waits for the lock.

        Args:
            waiting: Called with the seconds waited so far, when the wait begins and then every `WAIT_REPORT_S`.

        Raises:
            OSError: The file cannot be made or locked.
            NotImplementedError: The file cannot be locked, with older versions of filelock.
        """
        started, timeout = time.monotonic(), 0.0
        while True:
            try:
                self._lock.acquire(timeout=timeout, poll_interval=_POLL_S)
                return
            except Timeout:
                waiting(time.monotonic() - started)
                timeout = WAIT_REPORT_S

    def try_acquire(self) -> bool:
        """Takes the lock if it is free, and returns whether it did; raises as `acquire` does."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()
