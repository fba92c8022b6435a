"""TensorRTLog: forwards TensorRT's messages to Python's logging and keeps its errors for exceptions."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress
from typing import Any

logger = logging.getLogger("azaion_engine.tensorrt")

_KEPT_ERRORS = 50
_REMEMBERED_WARNINGS = 1000


class TensorRTLog:
    """Receives TensorRT's messages from any of its threads.

    Attributes:
        ilogger: The `ILogger` to hand to TensorRT. One per process: TensorRT keeps the first one
            and warns about every other.
    """

    def __init__(self, module: Any) -> None:
        """Makes the `ILogger` of the given TensorRT module."""
        # Reentrant: garbage collection while the lock is held may free a TensorRT object, which logs a message.
        self._lock = threading.RLock()
        self._count = 0
        self._errors: deque[tuple[int, str]] = deque(maxlen=_KEPT_ERRORS)
        self._warned: set[str] = set()
        severity = module.ILogger.Severity
        levels = {
            severity.INTERNAL_ERROR: logging.ERROR,
            severity.ERROR: logging.ERROR,
            severity.WARNING: logging.WARNING,
            # INFO has a line per memory pool and layer. VERBOSE has thousands per build and is dropped.
            severity.INFO: logging.DEBUG,
        }
        receive = self._receive

        class _Logger(module.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                level = levels.get(severity)
                if level is not None:
                    receive(level, msg)

        self.ilogger = _Logger()

    def mark(self) -> int:
        """Returns a position for `errors_since`."""
        with self._lock:
            return self._count

    def errors_since(self, mark: int) -> list[str]:
        """Returns the errors logged after a `mark`, oldest first, those of other threads included."""
        with self._lock:
            return [message for position, message in self._errors if position > mark]

    def _receive(self, level: int, message: str) -> None:
        # TensorRT's threads call this method: an exception that leaves it ends the process.
        with suppress(Exception):
            message = message.strip()
            with self._lock:
                if level == logging.ERROR:
                    self._count += 1
                    self._errors.append((self._count, message))
                elif level == logging.WARNING and message in self._warned:
                    level = logging.DEBUG
                elif level == logging.WARNING and len(self._warned) < _REMEMBERED_WARNINGS:
                    self._warned.add(message)
            logger.log(level, "%s", message)
