"""Start: measures the time from `Detector.open`, with a plan in the cache, until the detector is warm.

    python -m benchmarks.library.start CONFIG [--rounds 3] [--json FILE]

Each start runs in a new process. Importing `azaion_engine.detector` is not part of the time; later imports are. The
engine runs in that process (`own`), or in a host, as replicas of one GPU share it (`shared`). The first start of each
kind builds the plan if there is none yet, and is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.records.machine import machine

HOST_LEAVES_S = 4.0
"""Seconds after which the previous start's host has ended, because it has no clients."""


def start(config: Path, shared: bool) -> dict[str, Any]:
    """Opens the detector of a service's configuration in this process; returns the seconds of each step."""
    begun = time.perf_counter()
    from azaion_engine.detector import Detector
    from deployments.settings import ServiceSettings

    [application] = yaml.safe_load(config.read_text("utf-8"))["applications"]
    settings = ServiceSettings(**application["args"])
    imported = time.perf_counter()
    with Detector.open(settings, shared=shared) as detector:
        opened = time.perf_counter()
        detector.warm_up()
        warm = time.perf_counter()
        return {
            "engine": detector.engine.name,
            "origin": detector.engine.origin.action if detector.engine.origin else None,
            "imports_s": round(imported - begun, 3),
            "open_s": round(opened - imported, 3),
            "warm_up_s": round(warm - opened, 3),
            "start_s": round(warm - imported, 3),
        }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", choices=("own", "shared"), help="one start in this very process")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(start(options.config, options.once == "shared")))
        return
    results: dict[str, Any] = {"machine": machine(), "own": [], "shared": []}
    for kind in ("own", "shared"):
        for number in range(options.rounds + 1):
            command = [sys.executable, "-m", "benchmarks.library.start", str(options.config), "--once", kind]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(kind, json.dumps(found), flush=True)
            if number:
                results[kind].append(found)
            time.sleep(HOST_LEAVES_S if kind == "shared" else 0)
        results[f"{kind}_start_s"] = statistics.median(found["start_s"] for found in results[kind])
    print(json.dumps({key: value for key, value in results.items() if key.endswith("_start_s")}))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
