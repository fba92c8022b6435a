"""VersionChecks: checks new versions of models that a replica opens only when they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from deployments.versions.version import Report, Version


class VersionChecks:
    """The checks of one replica; used from one event loop."""

    def __init__(self, check: Callable[[str, Version], None]) -> None:
        """Checks nothing yet.

        Args:
            check: Checks a version of a model, in a thread; an error that it raises refuses the version.
        """
        self._check = check
        self._reports: dict[tuple[str, str], Report] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def report(self, model: str, version: Version) -> Report:
        """Returns how far the check of a version is; begins it if it is not known."""
        key = (model, version.id)
        if key not in self._reports:
            self._reports[key] = Report(state="opening")
            task = asyncio.get_running_loop().create_task(self._run(model, version))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._reports[key]

    def forget(self, model: str) -> None:
        """Forgets the checks of a model: a version of it is checked anew."""
        self._reports = {key: report for key, report in self._reports.items() if key[0] != model}

    async def _run(self, model: str, version: Version) -> None:
        report = Report(state="open")
        try:
            await asyncio.to_thread(self._check, model, version)
        except Exception as error:
            report = Report.of_error(error)
        self._reports[model, version.id] = report
