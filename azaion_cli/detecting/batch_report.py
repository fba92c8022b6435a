"""BatchReport: progress, failures and the summary of `azaion batch`, on stderr."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import TYPE_CHECKING

from azaion_cli.console import say, say_error, say_log, stderr

if TYPE_CHECKING:
    from rich.progress import Progress

    from azaion_batch.job import Job
    from azaion_batch.parts import Part

_LINE_SECONDS = 10.0
"""Time between two lines of progress where stderr is no terminal."""


class BatchReport:
    """Shows how far a job is: rate, failures and the time that is left."""

    def __init__(self, job: Job, *, as_json: bool) -> None:
        """Begins at what is done already; with `as_json`, all lines are JSON objects."""
        self._as_json = as_json
        # Shares of scenes count for progress, since a scene is done at the end only; they are no sources.
        self._sizes = {chunk.id: len(chunk.entries) for chunk in job.left}
        self._total = sum(len(chunk.entries) for chunk in job.chunks)
        self._done = self._total - sum(self._sizes.values())
        self._sources = sum(len(chunk.entries) for chunk in job.chunks if chunk.kind != "windows")
        left = sum(len(chunk.entries) for chunk in job.left if chunk.kind != "windows")
        self._before = self._sources - left
        self.pictures = self.boxes = self.failed = 0
        self._missing = set(self._sizes)
        self._begun = self._told = time.monotonic()
        self._first: float | None = None
        self._first_sources = 0
        self._bar: Progress | None = None

    @property
    def incomplete(self) -> bool:
        """Whether a picture failed in this run, or a part is missing after it."""
        return bool(self.failed or self._missing)

    def __enter__(self) -> BatchReport:
        if stderr().is_terminal and not self._as_json:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=stderr(), transient=True)
            self._task = self._bar.add_task("sources", total=self._total, completed=self._done)
            self._bar.start()
        return self

    def add(self, part: Part) -> None:
        """Counts a part that was written, and tells its failures."""
        self._missing.discard(part.id)
        self._done += self._sizes.get(part.id, 0)
        self.pictures += part.pictures
        self.boxes += part.boxes
        self.failed += part.failures
        for source, code, why in part.told:
            say_error(code, f"{source}: {why}", as_json=self._as_json)
        if part.failures > len(part.told):
            text = f"{part.failures - len(part.told)} more failures in part {part.id}"
            say_log("warning", text, as_json=self._as_json)
        if self._first is None:  # starting Ray and the engines is no measure of the rate
            self._first, self._first_sources = time.monotonic(), self._done
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=self._words())
        elif time.monotonic() - self._told >= _LINE_SECONDS:
            self._told = time.monotonic()
            what = "sources" if self._total == self._sources else "sources and shares of scenes"
            say_log("info", f"{self._done} of {self._total} {what}, {self._words()}", as_json=self._as_json)

    def fail(self, source: str, code: str, why: str) -> None:
        """Counts and tells a failure that no part has."""
        self.failed += 1
        say_error(code, f"{source}: {why}", as_json=self._as_json)

    def _words(self) -> str:
        rate = self._rate()
        if not rate:
            return f"{self.failed} failed"
        left = round((self._total - self._done) / rate)
        hours, seconds = divmod(left, 3600)
        return f"{rate:.1f}/s, {self.failed} failed, {hours}:{seconds // 60:02}:{seconds % 60:02} left"

    def _rate(self) -> float:
        """Returns sources a second since the first part."""
        seconds = 0.0 if self._first is None else time.monotonic() - self._first
        return (self._done - self._first_sources) / seconds if seconds > 0 else 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is not None and not issubclass(kind, KeyboardInterrupt):
            return
        seconds = time.monotonic() - self._begun
        counts = {"pictures": self.pictures, "boxes": self.boxes, "failed": self.failed}
        if self._as_json:
            rest = {"sources": self._sources, "done_before": self._before, "missing_parts": len(self._missing)}
            say(json.dumps({"summary": {**counts, **rest, "seconds": round(seconds, 3)}}))
            return
        before = f", {self._before} of {self._sources} sources done before" if self._before else ""
        missing = f", {len(self._missing)} parts missing: run it again" if self._missing else ""
        failed = f", {self.failed} failed" if self.failed else ""
        rate = self.pictures / seconds if seconds else 0.0
        text = (
            f"{self.pictures} pictures, {self.boxes} boxes in {seconds:.1f} s ({rate:.1f}/s){failed}{before}{missing}"
        )
        say(text)
