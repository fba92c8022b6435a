"""Progress monitor: TensorRT's report of a running build, handed on."""

from __future__ import annotations

from typing import Any, Protocol


class Phases(Protocol):
    """Receives the progress of a build's phases; `BuildProgress` implements it."""

    def phase(self, name: str, step: int, steps: int) -> None:
        """Records the progress of a TensorRT phase; phases nest."""

    def phase_done(self, name: str) -> None:
        """Removes a finished phase."""


def make_monitor(module: Any, progress: Phases) -> Any:
    """Returns a progress monitor for a builder configuration, which reports to `progress`.

    Args:
        module: A TensorRT module that has `IProgressMonitor` (10 and later).
        progress: Receives the phases.
    """

    class _Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            progress.phase(phase_name, 0, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            progress.phase_done(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.phase(phase_name, step + 1, self._steps.get(phase_name, 0))
            return True  # False would cancel the build

    return _Monitor()
