"""Steps of a few milliseconds, whose command is a line of Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.host import Lane
from benchmarks.gpu.runner import Outcome, Runner
from benchmarks.gpu.steps import Step

CORE = 0
LANE = Lane((), (CORE,))
FIRST, SECOND = Lane(("0",), (CORE,)), Lane(("1",), (CORE,))
SLEEP = "import time; print('asleep', flush=True); time.sleep(600)"


def step(name: str, code: str = "", seconds: float = 60, **options: Any) -> Step:
    return Step(name, ("-c", code or f"print({name!r})"), seconds, **{"gpus": 0, **options})


def run(out: Path, steps: list[Step], lanes: list[Lane], limit_s: float = 600) -> list[Outcome]:
    return Runner(steps, lanes, out, limit_s, tell=lambda line: None).run()
