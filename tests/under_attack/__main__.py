"""`python -m tests.under_attack`: what good clients keep of their rate and p99 under each attack, in both modes.

The good clients ask alone, then under an attack, in turns, and each attack is compared with the turns beside it. They
leave the service time to spare: what they lose, an attack took. An attack whose requests mean work by right (a picture
is decoded, a body inflated, and refused for what it is) takes processor time as any other request does: `service_cores`
and `attackers_cores` say how much.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

from benchmarks.records.machine import machine
from tests.chaos.clients import Case, make_cases
from tests.chaos.service import ROOT, ChaosService, chaos_service
from tests.under_attack.attackers import ATTACKS
from tests.under_attack.good_clients import Seen, ask

TRIES = 3
"""Times that an attack is tried until the bars are held: what else the machine does only takes from the good clients.
The record has every try."""
MAX_QUEUE = 32
"""Of each of two replicas: they have 128 places for bodies, fewer than an attack has connections."""
LEAST_RATE, MOST_P99 = 0.95, 2.0
"""What good clients keep of their rate, and by what their p99 may grow."""
_HEADER = (
    f"{'attack':26} {'rate':>6} {'p99':>6} {'p99 ms':>8}  refused  cores: service, attackers, others; attackers saw"
)


class Turn(NamedTuple):
    """One time of asking.

    Attributes:
        seen: What the good clients saw.
        service_cores: Processor time of the service a second.
        busy_cores: Processor time of the whole machine a second, but for that of the good clients.
        attack: What the attackers printed; empty without one.
    """

    seen: Seen
    service_cores: float
    busy_cores: float
    attack: dict[str, Any]


def turn(service: ChaosService, cases: list[Case], seconds: float, attack: str = "") -> Turn:
    """Lets the good clients ask once, alone or under an attack, which lasts as long."""
    port = urlsplit(service.url).port or 80
    command = [sys.executable, "-m", "tests.under_attack.attackers", attack, str(port), str(seconds)]
    attacking = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) if attack else None
    if attacking is not None and attacking.stdout is not None:
        attacking.stdout.readline()  # its requests are made
    before, busy_before = _cpu_s(service), _busy_s()
    seen = ask(port, cases, seconds)
    service_cores, busy_cores = (_cpu_s(service) - before) / seconds, (_busy_s() - busy_before) / seconds
    if attacking is None:
        return Turn(seen, service_cores, busy_cores, {})
    try:
        printed, _ = attacking.communicate(timeout=60)
    finally:
        attacking.kill()
    return Turn(seen, service_cores, busy_cores, json.loads(printed))


def measure(service: ChaosService, cases: list[Case], names: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Measures attacks in turns; yields a row for each."""
    turn(service, cases, 4)  # warms up
    alone = turn(service, cases, seconds)
    for name in names:
        for _ in range(TRIES):
            under = turn(service, cases, seconds, name)
            before, alone = alone, turn(service, cases, seconds)
            yield (row := compared(name, under, [before, alone]))
            if held(row):
                break


def compared(name: str, under: Turn, alone: list[Turn]) -> dict[str, Any]:
    """Returns one attack's figures."""
    rate = statistics.mean(each.seen.rate for each in alone)
    p99_ms = statistics.mean(each.seen.percentile_ms(99) for each in alone)
    return {
        "attack": name,
        "rate_alone": round(rate, 2),
        "rate": round(under.seen.rate, 2),
        "rate_ratio": round(under.seen.rate / rate, 3),
        "p99_alone_ms": [round(each.seen.percentile_ms(99), 1) for each in alone],
        "p99_ms": round(under.seen.percentile_ms(99), 1),
        "p99_ratio": round(under.seen.percentile_ms(99) / p99_ms, 2),
        "p50_ms": round(under.seen.percentile_ms(50), 1),
        "p50_alone_ms": [round(each.seen.percentile_ms(50), 1) for each in alone],
        "others": dict(under.seen.others),
        "others_alone": dict(alone[0].seen.others + alone[1].seen.others),
        "service_cores": round(under.service_cores, 2),
        "service_cores_alone": [round(each.service_cores, 2) for each in alone],
        "others_cores": round(_others(under), 2),
        "others_cores_alone": [round(_others(each), 2) for each in alone],
        "attackers_cores": round(under.attack["cpu_s"] / under.seen.seconds, 2),
        "attackers_saw": under.attack["seen"],
    }


def _others(of: Turn) -> float:
    """Returns the cores that neither the service nor the attackers took."""
    return of.busy_cores - of.service_cores - of.attack.get("cpu_s", 0.0) / of.seen.seconds


def held(row: dict[str, Any]) -> bool:
    """Returns whether the good clients kept what they must."""
    return row["rate_ratio"] >= LEAST_RATE and row["p99_ratio"] <= MOST_P99 and "wrong" not in row["others"]


def line(row: dict[str, Any]) -> str:
    """Returns a row of the table."""
    text = f"{row['attack']:26} {row['rate_ratio']:6.3f} {row['p99_ratio']:6.2f} {row['p99_ms']:8.1f}  "
    text += f"{sum(row['others'].values()):7}  {row['service_cores']:.2f} ({row['service_cores_alone'][0]:.2f} alone), "
    text += f"{row['attackers_cores']:.2f}, {row['others_cores']:.2f}; {row['attackers_saw']}"
    return text + ("" if held(row) else "  MISSED")


def _cpu_s(service: ChaosService) -> float:
    total = 0.0
    for process in psutil.Process(service.process.pid).children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _busy_s() -> float:
    """Returns the processor time of the machine, but for this process's and its idle time."""
    times, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq - own.user - own.system)


def main() -> int:
    """Prints the table, and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="of a turn")
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--modes", nargs="+", default=["throughput", "proxy"], choices=["throughput", "proxy"])
    parser.add_argument("--json", type=Path, help="file of the record")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else the service would outlive this process
    cases = make_cases("demo")
    record: dict[str, Any] = {"machine": machine(), "seconds_of_a_turn": options.seconds, "modes": {}}
    for mode in options.modes:
        print(f"\n{'HAProxy' if mode == 'throughput' else 'Serve’s own proxy'}\n{_HEADER}", flush=True)
        with chaos_service(mode == "throughput", max_queue=MAX_QUEUE) as service:
            rows = record["modes"].setdefault(mode, [])
            for row in measure(service, cases, options.attacks, options.seconds):
                print(line(row), flush=True)
                rows.append(row)
                if options.json is not None:  # now: the rest may be stopped
                    options.json.write_text(json.dumps(record, indent=2).replace("NaN", "null") + "\n")
    won = {(mode, row["attack"]) for mode, rows in record["modes"].items() for row in rows if held(row)}
    missed = [f"{m}: {name}" for m in options.modes for name in options.attacks if (m, name) not in won]
    print("\n" + (f"MISSED: {', '.join(missed)}" if missed else "every bar is held"))
    return min(len(missed), 1)


if __name__ == "__main__":
    sys.exit(main())
