"""StepProcess: the processes of one step, with its output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.gpu.host import ROOT, Lane
from benchmarks.gpu.steps import Step

GRACE_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""
MARK = "AZAION_GPU_RECORD"
"""Environment variable that every process of a step has, those too that left its process group."""
_TAIL_BYTES = 8192
_HEAD, _TAIL = 60, 80
"""Characters told of the beginning and of the end of an output's last line."""


class StepProcess:
    """A step that runs.

    Attributes:
        step: What runs.
        lanes: Where.
    """

    def __init__(self, step: Step, lanes: list[Lane], output: Path) -> None:
        """Starts it, in a process group of its own.

        Args:
            step: What to run.
            lanes: Whose GPUs and cores it gets.
            output: File of its standard output and its errors.
        """
        self.step, self.lanes = step, lanes
        self._output = output
        self._mark = f"{os.getpid()}-{step.name}"
        self._begun = time.monotonic()
        cores = [core for lane in lanes for core in lane.cores]
        modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {
            **os.environ,
            "PYTHONPATH": modules,
            "PYTHONUNBUFFERED": "1",
            "CUDA_VISIBLE_DEVICES": ",".join(gpu for lane in lanes for gpu in lane.gpus),
            MARK: self._mark,
        }
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *step.command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=partial(os.sched_setaffinity, 0, cores),  # safe: the runner has no other thread
            )

    @property
    def seconds(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._begun

    def exit_code(self) -> int | None:
        """Returns its exit code, the signal's number below 0, or None while it runs."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Sends SIGTERM to its process group."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Ends its process group, by SIGTERM and after `GRACE_S` by SIGKILL."""
        self.ask_to_end()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def clean_up(self) -> None:
        """Kills what it has left behind after its end: Ray, HAProxy and engine hosts have groups of their own."""
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            with suppress(OSError):  # it has just ended, or is another user's
                if pid != os.getpid() and self._is_ours(pid):
                    os.kill(pid, signal.SIGKILL)

    def last_line(self) -> str:
        """Returns the last line of its output that says anything; empty if there is none."""
        with self._output.open("rb") as file:
            file.seek(max(0, self._output.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        said = [line.strip() for line in lines if any(character.isalnum() for character in line)]
        line = said[-1] if said else ""
        return line if len(line) <= _HEAD + _TAIL else f"{line[:_HEAD]} … {line[-_TAIL:]}"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _is_ours(self, pid: int) -> bool:
        # The title that Ray gives a process may overwrite its environment: then its session tells.
        if os.getsid(pid) == self._process.pid:
            return True
        return f"{MARK}={self._mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
