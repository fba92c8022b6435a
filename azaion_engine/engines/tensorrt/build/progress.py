"""BuildProgress: logs elapsed time and stage of an engine build every ten seconds."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

logger = logging.getLogger(__name__)

REPORT_INTERVAL_S = 10.0
"""Seconds between two progress lines: a build takes minutes and must never look hung."""

_LINE = "building TensorRT engine: %.0f s elapsed, %s"

_SPEAKER = """
import select, sys, time
interval, elapsed, stage, line, begun = float(sys.argv[1]), float(sys.argv[2]), *sys.argv[3:], time.monotonic()
while not select.select([sys.stdin], [], [], interval)[0]:
    print(line % (elapsed + time.monotonic() - begun, stage), file=sys.stderr, flush=True)
"""
"""Child process that prints the lines. It exits with its parent, because the pipe to its stdin closes then."""


class BuildProgress:
    """Context manager that logs elapsed time and phase from a daemon thread until the block ends."""

    def __init__(self, interval_s: float | None = None) -> None:
        """Prepares the thread; entering the block starts it.

        Args:
            interval_s: Seconds between two lines; default `REPORT_INTERVAL_S`.
        """
        self._interval = REPORT_INTERVAL_S if interval_s is None else interval_s
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._stage = "starting"
        self._mute = False
        self._phases: dict[str, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._report, name="engine-build-progress", daemon=True)

    def __enter__(self) -> BuildProgress:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the build began."""
        return time.monotonic() - self._started

    def stage(self, name: str) -> None:
        """Sets the current stage and logs it at once: the next call may hold the GIL for seconds."""
        with self._lock:
            self._stage = name
            self._phases.clear()
        logger.info(_LINE, self.elapsed_s, name)

    @contextmanager
    def spoken_elsewhere(self) -> Iterator[None]:
        """Lets a child process print the lines to standard error, because the block may hold the GIL."""
        command = [sys.executable, "-ISc", _SPEAKER, str(self._interval), str(self.elapsed_s), self.describe(), _LINE]
        self._mute = True
        try:
            with subprocess.Popen(command, stdin=subprocess.PIPE):  # closes the pipe and waits
                yield
        finally:
            self._mute = False

    def phase(self, name: str, step: int, steps: int) -> None:
        """Records the progress of a TensorRT phase; phases nest."""
        with self._lock:
            self._phases[name] = (step, steps)

    def phase_done(self, name: str) -> None:
        """Removes a finished phase."""
        with self._lock:
            self._phases.pop(name, None)

    def fraction(self) -> float | None:
        """Returns the completed part of the current stage, 0…1; None where TensorRT does not report it."""
        with self._lock:
            phases = list(self._phases.values())
        done = None
        for step, steps in reversed(phases):  # an inner phase is a part of one step of its outer phase
            done = min((step + (done or 0.0)) / max(steps, 1), 1.0)
        return done

    def describe(self) -> str:
        """Returns the current stage, with TensorRT's innermost phase and its percentage where known."""
        with self._lock:
            if not self._phases:
                return self._stage
            name, (step, steps) = list(self._phases.items())[-1]
        return f"{self._stage}: {name} {100 * step // max(steps, 1)} %"

    def _report(self) -> None:
        while not self._stopped.wait(self._interval):
            if not self._mute:
                logger.info(_LINE, self.elapsed_s, self.describe())
