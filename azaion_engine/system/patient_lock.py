"""PatientLock: a lock file of the operating system, waited for with a word every few seconds."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

WAIT_REPORT_S = 10.0
"""Seconds between two words of a process that waits: an engine's build takes minutes."""

_POLL_S = 0.1
# Newer versions of filelock take a lock file's mere existence for a lock where flock is missing; a killed process
# would then keep all others waiting for ever. Older ones raise NotImplementedError by themselves.
_OPTIONS: dict[str, Any] = (
    {"fallback_to_soft": False} if "fallback_to_soft" in inspect.signature(FileLock.__init__).parameters else {}
)


class PatientLock:
    """One process at a time holds it: flock on a file, which ends with the process that held it."""

    def __init__(self, path: Path) -> None:
        """Locks nothing yet; the file is made if it is not there."""
        self._lock = FileLock(path, **_OPTIONS)

    def acquire(self, waiting: Callable[[float], None]) -> None:
        """Waits for the lock.

        Args:
            waiting: Called with the seconds waited so far, as soon as there is a wait, and then every `WAIT_REPORT_S`.

        Raises:
            OSError: The file cannot be made or locked.
            NotImplementedError: Likewise, with older versions of filelock.
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
        """Takes the lock if nobody else holds it; raises as `acquire` does."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Lets others have it."""
        self._lock.release()
