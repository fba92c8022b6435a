"""Runner: runs steps within a time limit, side by side where they share nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.host import Lane
from benchmarks.gpu.process import GRACE_S, StepProcess
from benchmarks.gpu.steps import Step

_POLL_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """How a step went.

    Attributes:
        name: Of the step.
        exit_code: Of its command, a signal's number below 0; None if it was left out.
        seconds: That it took.
        line: The last line of its output, or why it was left out or ended.
        gpus: That it ran on.
    """

    name: str
    exit_code: int | None
    seconds: float
    line: str
    gpus: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it ran and did not succeed."""
        return self.exit_code not in (0, None)

    def told(self) -> str:
        """Returns it as one line."""
        how = "left out" if self.exit_code is None else f"exit {self.exit_code}"
        return f"{self.name:<16}{self.seconds:>7.1f} s  {how:<9} {self.line}".rstrip()


class Runner:
    """Runs each step in the first lane that is free, in the given order as far as needs and lanes allow.

    Attributes:
        outcomes: Of the steps that are over, in the order of their ends.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        lanes: Sequence[Lane],
        out: Path,
        limit_s: float,
        record: Path | None = None,
        about: dict[str, Any] | None = None,
        tell: Callable[[str], object] = print,
        succeeded: Container[tuple[str, ...]] = (),
    ) -> None:
        """Starts nothing yet.

        Args:
            steps: What to run; the steps that one needs come before it.
            lanes: Parts of the host; a step that is alone takes them all.
            out: Folder of the outputs.
            limit_s: Seconds after which nothing runs any more.
            record: File that tells how each step went; default: `steps.json` in that folder.
            about: What it says of the machine.
            tell: Gets a line for each step that is over.
            succeeded: Commands that ended well in earlier runs.

        Raises:
            ValueError: A step needs one that does not come before it.
        """
        for index, step in enumerate(steps):
            if not {one.name for one in steps[:index]}.issuperset(step.needs):
                raise ValueError(f"{step.name} needs {', '.join(step.needs)} before it, which is not among the steps")
        self.outcomes: list[Outcome] = []
        self._waiting = list(steps)
        self._running: list[StepProcess] = []
        self._commands = {step.name: list(step.command) for step in steps}
        self._lanes = list(lanes)
        self._gpus = sum(len(lane.gpus) for lane in lanes)
        self._out, self._record = out, record or out / "steps.json"
        self._about, self._tell, self._succeeded = about or {}, tell, succeeded
        self._end = time.monotonic() + limit_s
        self._stopped = False

    def run(self) -> list[Outcome]:
        """Runs the steps; returns their outcomes."""
        try:
            while (self._waiting or self._running) and not self._stopped:
                self._start_some()
                self._collect()
                if self._running:
                    time.sleep(_POLL_S)
        finally:
            for running in self._running:
                running.ask_to_end()  # all at once: each may take its time
            for running in list(self._running):
                self._finish(running, "interrupted")
            for step in self._waiting:
                self._leave_out(step, "interrupted")
        return self.outcomes

    def stop(self) -> None:
        """Makes `run` end what runs and return; for signal handlers."""
        self._stopped = True

    def _start_some(self) -> None:
        for step in list(self._waiting):
            if made := self._made_before(step):
                self._waiting.remove(step)
                self._note(Outcome(step.name, 0, 0.0, made))
            elif reason := self._obstacle(step):
                self._waiting.remove(step)
                self._leave_out(step, reason)
            elif self._may_start(step):
                self._waiting.remove(step)
                lanes = self._free_lanes()
                taken = lanes if step.is_alone else lanes[:1]
                (self._out / f"{step.name}.json").unlink(missing_ok=True)  # an earlier run's is not this one's
                self._running.append(StepProcess(step, taken, self._out / f"{step.name}.txt"))

    def _made_before(self, step: Step) -> str:
        """Returns why a step need not run; empty if it must."""
        if step.makes is not None and step.makes.exists():
            return f"made before: {step.makes.name}"
        return "made before: its plan" if step.is_kept and step.command in self._succeeded else ""

    def _obstacle(self, step: Step) -> str:
        """Returns why a step can never start; empty if it can."""
        over = {outcome.name: outcome for outcome in self.outcomes}
        for need in step.needs:
            if need in over and over[need].exit_code != 0:
                return f"needs {need}"
        if step.gpus > self._gpus:
            return f"needs {step.gpus} GPUs, here {self._gpus}"
        left = self._end - time.monotonic()
        if left < step.seconds + GRACE_S * len(self._lanes):  # the steps of all lanes may have to be killed
            return f"may take {step.seconds:.0f} s, {max(0.0, left):.0f} s are left"
        return ""

    def _may_start(self, step: Step) -> bool:
        done = {outcome.name for outcome in self.outcomes}
        free = self._free_lanes()
        return (
            done.issuperset(step.needs)
            and len(free) >= (len(self._lanes) if step.is_alone else 1)
            and not (step.uses_ray and any(running.step.uses_ray for running in self._running))
        )

    def _free_lanes(self) -> list[Lane]:
        taken = [lane for running in self._running for lane in running.lanes]
        return [lane for lane in self._lanes if lane not in taken]

    def _collect(self) -> None:
        for running in list(self._running):
            if running.exit_code() is not None:
                self._finish(running)
            elif running.seconds > running.step.seconds:
                self._finish(running, f"over its {running.step.seconds:g} s")

    def _finish(self, running: StepProcess, why: str = "") -> None:
        """Notes the outcome of a step, and ends it before if there is a reason."""
        if why:
            running.end()
        running.clean_up()
        self._running.remove(running)
        code, step = running.exit_code(), running.step
        if why:
            code = code or -1  # a command that ends well at SIGTERM has not done its work
        if code and step.makes:
            step.makes.unlink(missing_ok=True)  # it may be half a file
        line = "; ".join(filter(None, [why, running.last_line()]))
        gpus = tuple(gpu for lane in running.lanes for gpu in lane.gpus)
        self._note(Outcome(step.name, code, round(running.seconds, 1), line, gpus))

    def _leave_out(self, step: Step, reason: str) -> None:
        self._note(Outcome(step.name, None, 0.0, reason))

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._tell(outcome.told())
        steps = [{**asdict(one), "command": self._commands[one.name]} for one in self.outcomes]
        self._record.write_text(json.dumps({**self._about, "steps": steps}, indent=1) + "\n")
