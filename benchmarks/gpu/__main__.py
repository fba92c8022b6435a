"""GPU records: every measurement of this project that needs one or two GPUs, by one command.

    python -m benchmarks.gpu --out DIR [--steps NAME ...] [--limit SECONDS] [--gpus N] [--model FILE.onnx]

Each step has its output in DIR/NAME.txt and its record in DIR/NAME.json; DIR/steps-TIME.json tells how each went. First
come models, plans (in DIR/cache) and tests, then measurements, which find their plans there. With several GPUs, steps
run side by side: each has a GPU and an equal share of the cores for itself. After a step that fails, or takes too long,
the others go on. What an earlier run made in the same DIR is not made again. `--engine onnx` tries the commands where
there is no GPU.

Ends with 1 if a step failed, 2 if something is missing on this machine, 130 or 143 after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.gpu.files import Files
from benchmarks.gpu.host import Lane, lanes_of, missing, ordered_cores, visible_gpus
from benchmarks.gpu.runner import Runner
from benchmarks.gpu.steps import Step, chosen, cpu_steps, gpu_steps
from benchmarks.records.machine import machine


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", type=Path, required=True, help="folder of plans and records; may be there already")
    made.add_argument("--steps", nargs="+", metavar="NAME", help="these alone, and what they need; default: every step")
    made.add_argument("--limit", type=float, default=3600, help="seconds within which it ends (default %(default)g)")
    made.add_argument("--gpus", type=int, help="how many GPUs to use; default: all")
    made.add_argument(
        "--model", type=Path, help="a YOLO26 end-to-end export with random weights, made lively; default: the demo"
    )
    made.add_argument("--engine", choices=("tensorrt", "onnx"), default="tensorrt")
    made.add_argument("--dry-run", action="store_true", help="print the steps and their commands alone")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the steps; returns the exit code."""
    begun = time.monotonic()
    made = parser()
    options = made.parse_args(arguments)
    if options.model and not options.model.is_file():
        made.error(f"no such file: {options.model}")
    on_gpu = options.engine == "tensorrt"
    gpus = visible_gpus() if on_gpu else []
    if options.dry_run and on_gpu and not gpus:
        gpus = [str(index) for index in range(options.gpus or 1)]
    used = gpus[: options.gpus]
    files = Files(options.out.resolve(), options.model and options.model.resolve(), options.engine)
    steps = gpu_steps(files, len(used)) if on_gpu else cpu_steps(files)
    try:
        steps = chosen(steps, options.steps) if options.steps else steps
    except ValueError as error:
        made.error(str(error))
    lanes = lanes_of(used, ordered_cores(os.sched_getaffinity(0)))
    if options.dry_run:
        print("\n".join(plan_of(steps, lanes)))
        return 0
    if lacks := missing([step.module for step in steps], on_gpu):
        print(f"missing: {'; '.join(lacks)}", file=sys.stderr)
        return 2
    if options.gpus is not None and on_gpu and not 1 <= options.gpus <= len(gpus):
        made.error(f"--gpus {options.gpus}: this machine shows {len(gpus)}")
    files.write()
    left = options.limit - (time.monotonic() - begun)
    runner = Runner(
        steps, lanes, files.out, left, files.steps_record, {"machine": machine()}, lambda line: print(line, flush=True),
        files.succeeded(),
    )  # fmt: skip
    stopped_by: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopped_by.append(number)
        runner.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    outcomes = runner.run()
    return 128 + stopped_by[0] if stopped_by else int(any(outcome.failed for outcome in outcomes))


def plan_of(steps: Sequence[Step], lanes: Sequence[Lane]) -> list[str]:
    """Returns the lines of `--dry-run`."""
    lines = [f"a lane: GPU {', '.join(lane.gpus) or 'none'}, {len(lane.cores)} cores" for lane in lanes]
    for step in steps:
        where = "alone" if step.is_alone else "one lane"
        needs = f", needs {', '.join(step.needs)}" if step.needs else ""
        lines += [f"{step.name}: at most {step.seconds:g} s, {where}{needs}", f"    python {shlex.join(step.command)}"]
    return lines


if __name__ == "__main__":
    sys.exit(main())
