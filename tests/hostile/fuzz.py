"""Fuzzing: `python -m tests.hostile.fuzz` decodes mutated pictures and holds the bounds on each.

Prints how many there were of each outcome, and keeps every picture that breaks a bound in `build/fuzz/`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.hostile.measuring import Cost, measure, measure_in_child, warm_up
from tests.hostile.mutations import mutate
from tests.hostile.seeds import seeds

MOST_CPU_S = 1.0
"""Processor time of one picture, seconds."""
_NOISE_BYTES = 4 * 2**20
"""Memory that the interpreter or glibc may take beside a decode."""


class Fault(NamedTuple):
    """A picture that broke a bound."""

    name: str
    what: str
    data: bytes


class Report(NamedTuple):
    """What a run found.

    Attributes:
        pictures: Number of pictures.
        outcomes: Number by outcome: `picture`, or the error's code.
        slowest_s: Processor time of the slowest picture, seconds.
        largest: Memory of the largest picture, bytes.
        faults: Pictures that broke a bound.
    """

    pictures: int
    outcomes: Counter[str]
    slowest_s: float
    largest: int
    faults: list[Fault]


def fuzz(seed: int, count: int | None = None, seconds: float | None = None) -> Report:
    """Decodes mutated pictures until there were `count`, or `seconds` are over."""
    outcomes: Counter[str] = Counter()
    faults: list[Fault] = []
    slowest, largest = 0.0, 0
    end = time.monotonic() + seconds if seconds is not None else float("inf")
    for name, data in _mutated(seed):
        if outcomes.total() == count or time.monotonic() > end:
            break
        cost = measure(data)
        outcomes[cost.outcome] += 1
        slowest, largest = max(slowest, cost.cpu_s), max(largest, cost.peak)
        if cost.peak > cost.allowed + _NOISE_BYTES:  # or is it what the heap kept of earlier pictures?
            cost = _measure_anew(data)
        if what := fault_of(cost):
            faults.append(Fault(name, what, data))
    return Report(outcomes.total(), outcomes, slowest, largest, faults)


def _measure_anew(data: bytes) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        return measure_in_child(data, Path(folder))


def fault_of(cost: Cost) -> str:
    """Returns which bound a picture broke; empty if none."""
    if cost.outcome.startswith("untyped"):
        return f"{cost.outcome} {cost.message}"
    if cost.cpu_s > MOST_CPU_S:
        return f"{cost.cpu_s:.2f} s of processor time ({cost.outcome}: {cost.message})"
    if cost.peak > cost.allowed + _NOISE_BYTES:
        return f"{cost.peak / 2**20:.1f} MiB, charged {cost.allowed / 2**20:.1f} ({cost.outcome}: {cost.message})"
    return ""


def _mutated(seed: int) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(seed)
    pictures = seeds()
    names = sorted(pictures)
    while True:
        name = chance.choice(names)
        yield name, mutate(pictures[name], pictures[chance.choice(names)], chance)


@contextmanager
def _quiet() -> Iterator[None]:
    """Discards what libtiff and libjpeg write to the standard error about damaged files."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def main() -> int:
    """Runs the command; returns 1 if a picture broke a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, help="number of pictures")
    parser.add_argument("--seconds", type=float, help="how long")
    parser.add_argument("--seed", type=int, default=19)
    options = parser.parse_args()
    if options.count is None and options.seconds is None:
        options.count = 100_000
    warnings.simplefilter("ignore")  # Pillow's, about the metadata of damaged files
    warm_up()
    started = time.monotonic()
    with _quiet():
        report = fuzz(options.seed, options.count, options.seconds)
    print(
        f"{report.pictures} mutated pictures in {time.monotonic() - started:.0f} s (seed {options.seed}): "
        + ", ".join(f"{number} {outcome}" for outcome, number in report.outcomes.most_common())
    )
    print(f"slowest {report.slowest_s:.3f} s of processor time, largest {report.largest / 2**20:.1f} MiB")
    for fault in report.faults:
        path = Path("build/fuzz") / hashlib.sha256(fault.data).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fault.data)
        print(f"FAULT {path}: {fault.name}: {fault.what}")
    print(f"faults: {len(report.faults)}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
