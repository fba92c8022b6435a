"""`python -m tests.chaos.gpu --cache DIR`: faults under load on a GPU, with eight replicas before one engine."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from azaion_engine.detector import Detector
from azaion_engine.model.file import ModelFile
from benchmarks.records.machine import machine
from tests.chaos import faults
from tests.chaos.clients import make_cases
from tests.chaos.rows import HEADER, bars, suffer
from tests.chaos.service import SIDE, chaos_service

FAULTS = (
    faults.kill_the_engine_host,
    faults.kill_a_replica,
    faults.kill_all_replicas,
    faults.pause_the_engine_host,
    faults.kill_the_proxy,
)
REVIVAL_S = 5.0
"""Seconds beyond the load of the plan after which the first right answer comes, if the engine's process was killed."""


def main() -> int:
    """Prints the table, writes the record and returns 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the plans")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings: dict[str, Any] = {
        "engine": "tensorrt", "cache_dir": str(options.cache), "batch_size": 16, "optimization_level": 0,
    }  # fmt: skip
    # The plan of this file is the service's too: plans are kept by the model's name and content.
    model = options.cache / "chaos.onnx"
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(ModelFile.read("demo").data)
    cases = make_cases(str(model), settings)
    begun = time.monotonic()
    with Detector.open(model=str(model), height=SIDE, width=SIDE, **settings):
        load_s = time.monotonic() - begun
    print(f"load of the plan: {load_s:.1f} s\n{HEADER}", flush=True)
    missed, rows = [], []
    with chaos_service(True, **settings, num_gpus=1, replicas_per_gpu=8) as service:
        for fault in FAULTS:
            row = suffer(service, cases, fault.__name__.replace("_", " "), fault)
            print(row.line(), flush=True)
            missed += bars(row)
            if fault is faults.kill_the_engine_host and row.seconds_until_well > load_s + REVIVAL_S:
                missed.append(f"{row.fault}: {row.seconds_until_well:.1f} s, at most {load_s + REVIVAL_S:.1f}")
            rows.append(
                {
                    "fault": row.fault,
                    "sent": len(row.outcomes),
                    "right": row.right,
                    "wrong": row.wrong,
                    "lost_by_azaion_client": len(row.lost),
                    "refused": dict(row.refused),
                    "seconds_until_well": round(row.seconds_until_well, 2),
                    "slowest_readyz_s": round(row.slowest_probe_s, 2),
                }
            )
            service.wait_until_ready()
    print("\n" + ("\n".join(f"MISSED: {text}" for text in missed) or "every bar is held"))
    record = {"machine": machine(), "load_of_the_plan_s": round(load_s, 2), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
