"""Live build: shows an engine build on stderr."""

from __future__ import annotations

import logging
from types import TracebackType

from azaion_cli.console import stderr
from azaion_engine.engines.tensorrt.build.progress import BuildProgress


def build_progress() -> BuildProgress:
    """Returns the progress of a build: a live bar on a terminal, else a line at least every ten seconds on stderr."""
    # Show the store's messages (plan loaded, built or waited for) beside the bar too.
    logging.getLogger("azaion_engine.plans.store").setLevel(logging.INFO)
    if stderr().is_terminal:
        return _LiveBuildProgress()
    logging.getLogger("azaion_engine.engines.tensorrt.build.progress").setLevel(logging.INFO)
    return BuildProgress()


class _LiveBuildProgress(BuildProgress):
    """Shows stage, time and, if TensorRT reports it, its progress; only while a build runs."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

        super().__init__()
        self._bar = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            console=stderr(),
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> BuildProgress:
        self._bar.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._bar.stop()

    def stage(self, name: str) -> None:
        """Sets the stage that begins now."""
        super().stage(name)
        self._show()

    def phase(self, name: str, step: int, steps: int) -> None:
        """Updates the progress of a TensorRT phase."""
        super().phase(name, step, steps)
        self._show()

    def phase_done(self, name: str) -> None:
        """Removes a finished phase."""
        super().phase_done(name)
        self._show()

    def _show(self) -> None:
        done = self.fraction()
        self._bar.update(
            self._task, description=self.describe(), total=None if done is None else 1.0, completed=done or 0.0
        )
