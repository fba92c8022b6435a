"""VersionChecks: checks new versions of models that a replica opens only when they are asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from deployments.versions.version import Report, Version

CHECKED_AT_ONCE = 2
"""Versions that are checked at once, each in a process that may take a core for long; more wait."""


class _Check:
    """One check.

    Attributes:
        report: How far it is.
        unwanted: Is set when the version is no longer wanted.
    """

    def __init__(self) -> None:
        self.report = Report(state="opening")
        self.unwanted = threading.Event()


class VersionChecks:
    """The checks of one replica; used from one event loop."""

    def __init__(self, check: Callable[[str, Version, threading.Event], None]) -> None:
        """Checks nothing yet.

        Args:
            check: Checks a version of a model, in a thread, until the event is set; an error that it raises refuses the
                version.
        """
        self._check = check
        self._checks: dict[tuple[str, str], _Check] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(CHECKED_AT_ONCE, thread_name_prefix="checks")  # others must not wait

    def report(self, model: str, version: Version) -> Report:
        """Returns how far the check of a version is; begins it if it is not known, and ends that of another version."""
        key = (model, version.id)
        if key not in self._checks:
            self.forget(model)
            check = self._checks[key] = _Check()
            task = asyncio.get_running_loop().create_task(self._run(check, model, version))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._checks[key].report

    def forget(self, model: str) -> None:
        """Ends and forgets the checks of a model: a version of it is checked anew."""
        for key in [key for key in self._checks if key[0] == model]:
            self._checks.pop(key).unwanted.set()

    def close(self) -> None:
        """Ends all checks."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for check in self._checks.values():
            check.unwanted.set()

    async def _run(self, check: _Check, model: str, version: Version) -> None:
        report = Report(state="open")
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._check_now, check, model, version)
        except Exception as error:
            report = Report.of_error(error)
        check.report = report

    def _check_now(self, check: _Check, model: str, version: Version) -> None:
        if not check.unwanted.is_set():  # while it waited for a thread
            self._check(model, version, check.unwanted)
