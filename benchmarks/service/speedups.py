"""Speedups: measures over HTTP what each special path of the service is worth, by leaving it out.

    set -a; . configs/throughput.env; set +a
    python -m benchmarks.service.speedups [--json FILE] [--seconds 1] [--rounds 30] [--only "the shortcut"]

One application per speed-up runs on one Serve, all with an engine that takes JPEGs as a GPU does and answers each with
three boxes: what is left is the service's own cost. wrk asks them in turns and checks every answer: 32 closed-loop
clients, and one alone. `shipped` is the service as it is; a ratio above 1 is what a speed-up gains. The clients of a
real GPU see less of it, because its decoding and its network come on top.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import ray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.engines.base import Found
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.prepared import LoadablePicture, PictureForm
from benchmarks.records.machine import machine
from benchmarks.service.load import Request, put_load
from benchmarks.service.watching import LOGGING, URL, processor_seconds
from deployments.app import build_application
from deployments.settings import ServiceSettings
from tests.stand_in import StandInEngine

BATCH, BATCH_S = 32, 0.004
BOXES = 3
PICTURE = encode_jpeg(np.random.default_rng(0).integers(114, 142, (640, 640, 3), dtype=np.uint8))
"""A picture of the usual size for this network, 109 KB as a JPEG: receiving it is a part of the cost."""
CLIENTS = 32


class JpegEngine(StandInEngine):
    """Takes 4 ms for a batch of JPEGs of any size, two batches at a time, and finds the same boxes in each."""

    lanes = 2

    def __init__(self) -> None:
        super().__init__(batch_size=BATCH, seconds=BATCH_S)
        self._rows = np.zeros((300, 6), np.float32)
        for row in range(BOXES):
            self._rows[row] = [10 * row, 100, 10 * row + 40, 160, 0.95 - row / 100, row % 4]

    def get_input_shape(self) -> tuple[int, int]:
        """Returns the size that most detectors run at."""
        return 640, 640

    def open_pictures(self) -> PictureForm:
        """Asks for JPEGs."""
        return PictureForm.JPEG

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> list[Found]:
        time.sleep(self._seconds)
        return [self._rows] * len(pictures)


def open_shipped(settings: ServiceSettings) -> Detector:
    """Opens the stand-in as the service ships."""
    names = dict(enumerate(("car", "truck", "building", "person")))
    return Detector(JpegEngine(), names, model_name="stand-in")


def open_without_plain_detect(settings: ServiceSettings) -> Detector:
    """Sends every request through Serve and FastAPI's route."""
    from deployments.frontends.detect.plain_detect import PlainDetect

    PlainDetect.takes = lambda self, scope: False  # type: ignore[method-assign]
    return open_shipped(settings)


def open_without_the_shortcut(settings: ServiceSettings) -> Detector:
    """Lets Serve handle every request first."""
    import deployments.frontends.asgi as asgi

    asgi.offer = lambda path, answer: None
    return open_shipped(settings)


def open_without_waiting_for_the_next_batch(settings: ServiceSettings) -> Detector:
    """Sends a batch's answers at once."""
    from deployments.batching.batcher import Batcher

    async def at_once(self: Batcher) -> None:
        pass

    Batcher._let_next_begin = at_once  # type: ignore[method-assign]
    return open_shipped(settings)


def open_without_freezing(settings: ServiceSettings) -> Detector:
    """Leaves the garbage collector as it is."""
    import deployments.deployment as shell

    shell.freeze_garbage = lambda: None
    return open_shipped(settings)


def open_without_quick_switches(settings: ServiceSettings) -> Detector:
    """Leaves Python's switch interval at 5 ms."""
    sys.setswitchinterval(0.005)
    return open_shipped(settings)


def open_without_lone_batches(settings: ServiceSettings) -> Detector:
    """Sends a lone picture through `@serve.batch` too."""
    from deployments.batching import gate

    class NeverAlone(gate.Wave):
        """Counts as several; leaves as one."""

        def __init__(self, members: int) -> None:
            super().__init__(members)
            self._extra = members == 1
            self.members += self._extra

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "members" and getattr(self, "_extra", False) and value == 1:
                value = 0
            super().__setattr__(name, value)

    gate.Wave = NeverAlone  # type: ignore[misc]
    return open_shipped(settings)


OPENERS: dict[str, Callable[[ServiceSettings], Detector]] = {
    "shipped": open_shipped,
    "the shortcut": open_without_the_shortcut,
    "plain detect": open_without_plain_detect,
    "waiting for the next batch": open_without_waiting_for_the_next_batch,
    "freezing": open_without_freezing,
    "quick switches": open_without_quick_switches,
    "lone batches": open_without_lone_batches,
}
"""What each application leaves out; `shipped` leaves out nothing."""


def measure(path: str, pid: int, boxes: list[dict[str, Any]], seconds: float) -> dict[str, float]:
    """Returns the rate of many clients, the replica's processor time a request under it, and one client's median."""
    request = Request(path, PICTURE)
    used = processor_seconds(pid)
    many = put_load(URL, request, boxes, CLIENTS, seconds)
    used = processor_seconds(pid) - used
    alone = put_load(URL, request, boxes, 1, seconds)
    if errors := many["errors"] + alone["errors"]:
        raise SystemExit(f"{path}: {errors} wrong answers")
    return {
        "rate": many["rate"],
        "replica_us": round(used / many["requests"] * 1e6),
        "alone_us": round(1e6 / alone["rate"]),
    }


def gain(rounds: list[dict[str, Any]], name: str, what: str) -> dict[str, float]:
    """Returns what a speed-up gains: the geometric mean over the rounds, above 1 is better, and its standard error."""
    sign = 1 if what == "rate" else -1
    logs = [sign * math.log(found["shipped"][what] / found[name][what]) for found in rounds]
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return {"mean": round(math.exp(statistics.mean(logs)), 3), "standard_error": round(error, 3)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", action="append", choices=[*OPENERS][1:], help="Leave out only these; default: each.")
    options = parser.parse_args()
    openers = {name: OPENERS[name] for name in ["shipped", *(options.only or [*OPENERS][1:])]}
    ray.init(num_cpus=len(openers) + 2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": 8000}, logging_config=LOGGING["watched"])
    pids, boxes = {}, {}
    with httpx.Client(base_url=URL, timeout=60) as client:
        for name, opener in openers.items():
            path = "/" + name.replace(" ", "-")
            application = build_application(ServiceSettings(batch_size=BATCH, num_gpus=0), opener)
            serve.run(application, name=path[1:], route_prefix=path, logging_config=LOGGING["watched"])
            while (card := client.get(f"{path}/model")).status_code != 200:  # HAProxy learns of it a moment later
                time.sleep(0.2)
            pids[name] = int(card.json()["engine"].rsplit(" ", 1)[1])
            boxes[name] = client.post(f"{path}/detect", content=PICTURE).json()["boxes"]
            put_load(URL, Request(f"{path}/detect", PICTURE), boxes[name], CLIENTS, 2)
    rounds: list[dict[str, Any]] = []
    names = list(openers)
    for number in range(options.rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        rounds.append(
            {
                name: measure(f"/{name.replace(' ', '-')}/detect", pids[name], boxes[name], options.seconds)
                for name in (order if number % 2 else order[::-1])
            }
        )
    ray.shutdown()
    kinds = ("rate", "replica_us", "alone_us")
    summary = {
        "shipped": {what: statistics.median(found["shipped"][what] for found in rounds) for what in kinds},
        "gain": {name: {what: gain(rounds, name, what) for what in kinds} for name in names[1:]},
    }
    print(json.dumps(summary, indent=2))
    if options.json:
        throughput = os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0")
        record = {"machine": machine(), "throughput_optimized": throughput, **summary, "rounds": rounds}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
