"""`python -m tests.chaos.soak`: twenty minutes of load with a fault every thirty seconds; memory, queue and answers.

The oldest replica and the processes of Serve that no fault kills live all the time: their memory after the first round
of all faults is compared with that after the last one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.records.machine import machine
from tests.chaos import faults
from tests.chaos.clients import Case, Load, make_cases
from tests.chaos.rows import Row
from tests.chaos.service import ChaosService, chaos_service

FAULT_EACH_S = 30.0
LOOKS = 5
"""Looks at the memory before a fault, a second apart, of which the median counts."""
MOST_GROWTH = 0.02
"""By what the memory of a process may differ, as a part of it."""
_KINDS = ("ray::ServeReplica", "ray::ProxyActor", "ray::HAProxyManager", "ray::ServeController", "haproxy")
_HEADER = f"{'second':>6} {'fault':28} {'sent':>6} {'right':>6} {'wrong':>5} {'lost':>4} {'refused':>7} {'well s':>6}"


def kill_the_younger_replica(service: ChaosService) -> None:
    """One replica dies; the older one lives on, so that its memory tells."""
    service.named("ray::ServeReplica")[-1].kill()


FAULTS = (
    kill_the_younger_replica,
    faults.kill_the_proxy,
    faults.pause_a_replica,
    faults.take_the_descriptors,
    faults.fill_the_disks,
    faults.kill_the_controller,
)
"""One round; of those that concern a replica, all but the first hit the oldest one."""


@dataclass
class Look:
    """Memory of one process before a fault.

    Attributes:
        second: Since the load began.
        kind: Start of its command line, or name.
        pid: Its number.
        mib: Resident memory, MiB.
    """

    second: float
    kind: str
    pid: int
    mib: float


@dataclass
class Soak:
    """What a soak saw.

    Attributes:
        rows: Lines of the table.
        looks: The memory.
        round_s: Seconds of one round of all faults.
        sent: Requests.
        right: Right answers.
        wrong: Wrong answers.
        lost: What `azaion_client` raised.
        refused: What clients without retry got.
        queue: Pictures in each replica after the load.
    """

    rows: list[dict[str, Any]]
    looks: list[Look]
    round_s: float
    sent: int
    right: int
    wrong: int
    lost: list[str]
    refused: dict[str, int]
    queue: list[float]

    def growth(self) -> dict[str, dict[str, Any]]:
        """Returns the memory, MiB, of each process that lived from the second round to the last, and the ratio."""
        end = max(look.second for look in self.looks)
        first, last = (self.round_s, 2 * self.round_s), (end - self.round_s, end + 1)
        of: dict[tuple[str, int], list[Look]] = defaultdict(list)
        for look in self.looks:
            of[look.kind, look.pid].append(look)
        grown = {}
        for (kind, pid), looks in of.items():
            start, stop = (
                [look.mib for look in looks if since < look.second <= until] for since, until in (first, last)
            )
            if start and stop:
                before, after = statistics.median(start), statistics.median(stop)
                grown[f"{kind} {pid}"] = {"start": before, "end": after, "ratio": round(after / before, 4)}
        return grown

    def missed(self) -> list[str]:
        """Returns the bars that were missed."""
        texts = [f"{self.wrong} wrong answers"] if self.wrong else []
        texts += [f"azaion_client lost {len(self.lost)}: {self.lost[0]}"] if self.lost else []
        texts += [f"pictures left in the queues: {self.queue}"] if any(self.queue) else []
        texts += ["no replica told the depth of its queue"] if not self.queue else []
        grown = self.growth()
        texts += [
            f"{name}: memory {each['start']:.0f} to {each['end']:.0f} MiB"
            for name, each in grown.items()
            if abs(each["ratio"] - 1) > MOST_GROWTH
        ]
        return texts + ([] if grown else ["no process lived long enough for its memory to be compared"])


def soak(service: ChaosService, cases: list[Case], minutes: float) -> Soak:
    """Runs the load with its faults; prints a row for each."""
    rows: list[dict[str, Any]] = []
    looks: list[Look] = []
    with Load(service.url, cases) as load:
        begun = time.monotonic()
        seen = 0
        for number, fault in enumerate(itertools.cycle(FAULTS)):
            due = begun + FAULT_EACH_S * (number + 1)
            if due > begun + 60 * minutes + 1:
                break
            time.sleep(max(0.0, due - LOOKS - time.monotonic()))
            looks += _look(service, time.monotonic() - begun)
            at = time.monotonic()
            with suppress(IndexError):  # what it kills is not back yet; the row shows it
                fault(service)
            time.sleep(max(0.0, at + FAULT_EACH_S - LOOKS - 1 - time.monotonic()))
            outcomes = load.outcomes[seen:]
            seen += len(outcomes)
            row = Row(fault.__name__.replace("_", " "), outcomes, at)
            rows.append(
                {
                    "second": round(at - begun),
                    "fault": row.fault,
                    "sent": len(outcomes),
                    "right": row.right,
                    "wrong": row.wrong,
                    "lost": len(row.lost),
                    "refused": sum(row.refused.values()),
                    "well_s": round(row.seconds_until_well, 1),
                }
            )
            print(_line(rows[-1]), flush=True)
        service.wait_until_ready()
        time.sleep(FAULT_EACH_S - LOOKS)
        looks += _look(service, time.monotonic() - begun)
    whole = Row("all", load.outcomes, begun)
    time.sleep(2 * 5 + 2)  # the metrics leave the replicas every five seconds
    return Soak(
        rows,
        looks,
        FAULT_EACH_S * len(FAULTS),
        len(whole.outcomes),
        whole.right,
        whole.wrong,
        whole.lost,
        dict(whole.refused),
        _queues(service),
    )


def _line(row: dict[str, Any]) -> str:
    words = f"{row['second']:6} {row['fault']:28} {row['sent']:6} {row['right']:6} {row['wrong']:5}"
    return f"{words} {row['lost']:4} {row['refused']:7} {row['well_s']:6.1f}"


def _look(service: ChaosService, second: float) -> list[Look]:
    """Looks at every process `LOOKS` times, for as many seconds."""
    seen: dict[tuple[str, int], list[float]] = defaultdict(list)
    for _ in range(LOOKS):
        for kind in _KINDS:
            for process in service.haproxies() if kind == "haproxy" else service.named(kind):
                with suppress(psutil.NoSuchProcess):
                    seen[kind, process.pid].append(process.memory_info().rss / 2**20)
        time.sleep(1)
    return [Look(round(second, 1), *key, round(statistics.median(mib), 1)) for key, mib in seen.items()]


def _queues(service: ChaosService) -> list[float]:
    """Returns the number of pictures in each living replica, as their metrics tell."""
    code = (
        "import sys, ray\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "print(*[f\"{node['NodeManagerAddress']}:{node['MetricsExportPort']}\" for node in ray.nodes()])\n"
    )
    command = [sys.executable, "-c", code, service.gcs_address()]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=90, env=service.environment()
        )
    except subprocess.SubprocessError as error:  # must not cost the record of twenty minutes
        print(f"the metrics cannot be asked: {error}")
        return []
    text = httpx.get(f"http://{asked.stdout.split()[-1]}/metrics", timeout=20).text
    return [float(found) for found in re.findall(r"^ray_azaion_queue_depth\{.*\} (\S+)$", text, re.MULTILINE)]


def main() -> int:
    """Prints the table, the memory and the missed bars; writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--no-throughput", action="store_true", help="Serve's own proxy instead of HAProxy")
    parser.add_argument("--json", type=Path, help="file of the record")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the service would outlive this process
    cases = make_cases("demo")
    print(_HEADER, flush=True)
    with chaos_service(not options.no_throughput) as service:
        seen = soak(service, cases, options.minutes)
    for name, each in seen.growth().items():
        print(f"{name:32} {each['start']:8.1f} to {each['end']:8.1f} MiB: {each['ratio']:.3f}")
    print(f"{seen.sent} sent, {seen.right} right, {seen.wrong} wrong, {len(seen.lost)} lost; queues {seen.queue}")
    missed = seen.missed()
    if options.json is not None:
        record = {"machine": machine(), **asdict(seen), "growth": seen.growth(), "missed": missed}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(f"MISSED: {text}" for text in missed) or "every bar is held")
    return min(len(missed), 1)


if __name__ == "__main__":
    sys.exit(main())
