"""Tuner: measures candidates one after the other and keeps what was measured, however it ends."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azaion_cli.tuning.answers import Answers
from azaion_cli.tuning.candidates import Candidate, Grid, Host, worthwhile
from azaion_cli.tuning.engine_alone import NotMeasuredError, engine_alone
from azaion_cli.tuning.load import Level, LoadGenerator, counted
from azaion_cli.tuning.measurement import Measurement, raise_load, search
from azaion_cli.tuning.service import NotServedError, running_service

if TYPE_CHECKING:
    from azaion_engine.settings import DetectorSettings

GPU_PATIENCE_S = 1800.0
"""Longest wait for a service that may have to build its engine, seconds."""
CPU_PATIENCE_S = 180.0


class BudgetSpentError(Exception):
    """The time is over before a candidate began."""


@dataclass
class Tuner:
    """Measures the candidates of a grid.

    Attributes:
        host: The machine.
        grid: What may be tried.
        args: Arguments of the application that all candidates share, the model among them.
        settings: The detector's part of them.
        picture: Encoded picture that every client sends.
        latency_ms: Bound of the p99, milliseconds.
        seconds: Length of one load.
        make_config: Makes a Serve configuration of the application's arguments.
        deadline: When no candidate and no load begins any more, monotonic seconds.
        tell: Receives one line about what happens next.
        changed: Called when there is more in `measurements`.
        alone: What the engine alone did; empty if that was not measured.
        measurements: Every candidate begun so far.
    """

    host: Host
    grid: Grid
    args: Mapping[str, Any]
    settings: DetectorSettings
    picture: bytes
    latency_ms: float
    seconds: float
    make_config: Callable[[dict[str, Any]], Mapping[str, Any]]
    deadline: float = math.inf
    tell: Callable[[str], None] = field(default=lambda line: None)
    changed: Callable[[], None] = field(default=lambda: None)
    alone: list[dict[str, float]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def run(self) -> bool:
        """Measures until all candidates are done, and says whether they are: the time may be over before.

        Raises:
            WrongAnswerError: A service answered wrongly.
        """
        try:
            sizes = self._batch_sizes()
            with LoadGenerator(self.host.cores) as load:
                search(self.grid, sizes, lambda candidate: self._measure(candidate, load), self.latency_ms)
        except BudgetSpentError:
            return False
        return time.monotonic() < self.deadline

    def args_of(self, candidate: Candidate) -> dict[str, Any]:
        """Returns the arguments of the application with a candidate's settings."""
        return {**self.args, **candidate.args}

    def _batch_sizes(self) -> list[int | None]:
        """Returns the batch sizes to measure over HTTP, the most promising first."""
        sizes = self.grid.batch_sizes
        if len(sizes) == 1:
            return list(sizes)
        engine = "tensorrt" if self.grid.on_gpu else "onnx"
        settings = {**self.settings.model_dump(mode="json", exclude_unset=True), "engine": engine}
        with tempfile.NamedTemporaryFile(prefix="azaion-tune-") as file:
            file.write(self.picture)
            file.flush()
            # A large batch may not fit into the GPU's memory: then the smaller ones are asked for.
            for largest in sorted({size or 1 for size in sizes}, reverse=True)[::2]:
                self.tell(f"the engine alone, up to {largest} pictures a batch")
                try:
                    self.alone = engine_alone(settings, largest, self.seconds, Path(file.name), self.deadline)
                except NotMeasuredError as error:
                    if time.monotonic() >= self.deadline:
                        raise BudgetSpentError from error
                    self.tell(f"the engine alone, batches of {largest}: {error}")
                else:
                    return [*worthwhile(self.alone, sizes, self.latency_ms)]
        return list(sizes[:1])

    def _measure(self, candidate: Candidate, load: LoadGenerator) -> Measurement:
        begun = time.monotonic()
        if begun >= self.deadline:
            raise BudgetSpentError
        one = Measurement(candidate)
        self.measurements.append(one)  # from the start: an interrupt keeps its levels

        def measured(level: Level) -> None:
            one.levels.append(level)
            self.tell(f"{counted(level.clients)}: {level.rate:.1f} pictures/s, p99 {level.p99_ms:.1f} ms")
            self.changed()

        settings = ", ".join(f"{key}: {value}" for key, value in candidate.args.items())
        self.tell(f"starting a service with {settings}")
        patience = GPU_PATIENCE_S if self.grid.on_gpu else CPU_PATIENCE_S
        config = self.make_config(self.args_of(candidate))
        replicas = candidate.replicas * max(1, self.host.gpus)
        try:
            with running_service(config, replicas, self.picture, min(self.deadline, begun + patience)) as served:
                request, first = served
                answers = Answers(first, self.settings.confidence)
                raise_load(
                    lambda clients: load.put(request, answers, clients, self.seconds),
                    self.latency_ms,
                    self.deadline,
                    measured,
                )
        except NotServedError as error:
            one.failure = str(error)
            self.tell(f"not measured: {error}")
        self.changed()
        return one
