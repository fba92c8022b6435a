"""`python -m tests.chaos.two_gpus --cache DIR`: from one GPU to two and back under load, and one GPU's replica killed.

`--cpu` runs the same on ONNX Runtime, a replica in the place of a GPU: it tries the script where there is no GPU.
"""

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
from tests.chaos.clients import Case, Load, make_cases
from tests.chaos.rows import HEADER, bars, suffer
from tests.chaos.service import ON_THE_CPU, SIDE, ChaosService, chaos_service

CLIENTS = 32
SETTLE_S = 10.0
"""Seconds between a replica's process and a rate: it loads its engine, and the clients find it."""
RATE_S = 10.0
"""Seconds over which a rate is measured."""
MOST_S = 120.0
"""Seconds within which replicas come or go."""


def scaling(per_gpu: int) -> dict[str, Any]:
    """Returns Serve's options of the deployment: as `autoscale` sets them, but quick enough for a test."""
    return {
        "name": "DetectorDeployment",
        "num_replicas": "auto",
        "autoscaling_config": {
            "min_replicas": per_gpu,
            "max_replicas": 2 * per_gpu,
            "target_ongoing_requests": CLIENTS / 4 / per_gpu,  # 32 clients: two GPUs; one: one
            "upscale_delay_s": 2.0,
            "downscale_delay_s": 10.0,
            "metrics_interval_s": 1.0,
            "look_back_period_s": 3.0,
        },
    }


def held_gpus(before: list[int]) -> list[int]:
    """Returns the indices of the GPUs whose used memory grew by what a CUDA context and an engine take.

    Args:
        before: `used_memory()` before the service started.
    """
    return [index for index, (was, now) in enumerate(zip(before, used_memory(), strict=True)) if now - was > 300e6]


def used_memory() -> list[int]:
    """Returns the used memory of every GPU in bytes; empty without NVML."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no module, or no driver
        return []
    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    return [int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles]


class Report:
    """What was measured, and the bars that were missed."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.missed: list[str] = []

    def note(self, name: str, load: Load, **figures: Any) -> None:
        """Adds a step with the requests of its load, and prints it."""
        results = [outcome.result for outcome in load.outcomes]
        lost = [o.result for o in load.outcomes if o.retries and o.result not in ("right", "wrong")]
        step = {
            "step": name,
            "right": results.count("right"),
            "wrong": results.count("wrong"),
            "lost_by_azaion_client": len(lost),
            "refused_without_retry": sum(
                not o.retries and o.result not in ("right", "wrong") for o in load.outcomes
            ),
            **figures,
        }  # fmt: skip
        self.steps.append(step)
        print(json.dumps(step), flush=True)
        if step["wrong"] or lost:
            self.missed.append(f"{name}: {step['wrong']} wrong, {len(lost)} lost: {lost[:1]}")


def rate(load: Load) -> float:
    """Returns right answers a second over the next `RATE_S`."""
    begun = time.monotonic()
    time.sleep(RATE_S)
    end = time.monotonic()
    return round(sum(o.result == "right" and begun <= o.ended < end for o in list(load.outcomes)) / RATE_S, 1)


def wait_for(service: ChaosService, replicas: int) -> float:
    """Waits until so many replicas run and the service is ready; returns the seconds."""
    service.replicas = replicas
    begun = time.monotonic()
    service.wait_until_ready(MOST_S)
    return round(time.monotonic() - begun, 1)


def measure(service: ChaosService, cases: list[Case], per_gpu: int, before: list[int]) -> Report:
    """Scales a service up, kills a replica, and scales it down again."""
    report = Report()
    many = cases * (CLIENTS // len(cases))
    with Load(service.url, cases[:1]) as load:
        alone = rate(load)
    report.note("one client, one GPU", load, rate=alone, gpus_held=held_gpus(before))
    with Load(service.url, many) as load:
        seconds = wait_for(service, 2 * per_gpu)
        time.sleep(SETTLE_S)
        both, held = rate(load), held_gpus(before)
    report.note(f"{len(many)} clients: from one to two", load, seconds_until_begun=seconds, rate=both, gpus_held=held)
    row = suffer(service, many, "kill one GPU's replica", faults.kill_a_replica)
    print(f"{HEADER}\n{row.line()}", flush=True)
    report.missed += bars(row)
    service.wait_until_ready(MOST_S)
    with Load(service.url, cases[:1]) as load:
        seconds = wait_for(service, per_gpu)
    report.note("one client: from two to one", load, seconds_until_ended=seconds, gpus_held=held_gpus(before))
    report.steps.append(
        {
            "step": row.fault,
            "right": row.right,
            "wrong": row.wrong,
            "lost_by_azaion_client": len(row.lost),
            "refused_without_retry": sum(row.refused.values()),
            "seconds_until_well": round(row.seconds_until_well, 2),
            "slowest_readyz_s": round(row.slowest_probe_s, 2),
        }
    )
    return report


def main() -> int:
    """Prints what was measured, writes the record, and returns 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="folder of the plans")
    parser.add_argument("--cpu", action="store_true", help="ONNX Runtime, no GPU")
    parser.add_argument("--per-gpu", type=int, default=1, help="replicas that share a GPU (default %(default)s)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    gpus = len(used_memory())
    if options.cpu:
        settings: dict[str, Any] = {**ON_THE_CPU, "cpu_replicas": 2}
        cases = make_cases("demo")
    else:
        if options.cache is None or gpus < 2:
            parser.error(f"needs --cache and two GPUs, this machine shows {gpus}; or --cpu")
        settings = {
            "engine": "tensorrt", "cache_dir": str(options.cache), "batch_size": 16, "optimization_level": 0,
        }  # fmt: skip
        # The plan of this file is the service's too: plans are kept by the model's name and content.
        model = options.cache / "chaos.onnx"
        model.parent.mkdir(parents=True, exist_ok=True)
        model.write_bytes(ModelFile.read("demo").data)
        cases = make_cases(str(model), settings)
        with Detector.open(model=str(model), height=SIDE, width=SIDE, **settings):
            pass  # built here, so that the second GPU's replica loads it
        settings |= {"autoscale": {"min_gpus": 1, "max_gpus": 2}, "replicas_per_gpu": options.per_gpu}
    before = used_memory()  # with what this process itself holds now
    with chaos_service(True, [scaling(options.per_gpu)], first_replicas=options.per_gpu, **settings) as service:
        report = measure(service, cases, options.per_gpu, before)
    print("\n" + ("\n".join(f"MISSED: {text}" for text in report.missed) or "every bar is held"))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "steps": report.steps}, indent=1) + "\n")
    return int(bool(report.missed))


if __name__ == "__main__":
    sys.exit(main())
