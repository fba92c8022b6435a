"""Batching: measures its cost with a stand-in engine of 20 ms per batch of 16, called through a DeploymentHandle.

    python -m benchmarks.service.batching [--seconds 10] [--json FILE]

It prints the rate of 32 closed-loop callers and its ratio to the engine's 800/s, the latency of a lone request (the
engine's part is 20 ms), and the rate of an open loop of 300/s. It measures the same for `Ceiling`, which has the same
transport and engine but no pictures, no checks and no `@serve.batch`: the most that this machine allows.

With `configs/throughput.env` in the environment, Serve's handle calls are cheaper, Ray's daemons use less processor
time, and replicas have the same niceness as callers.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray
import uvloop
from ray import serve
from ray.serve.handle import DeploymentHandle

from benchmarks.records.machine import machine
from deployments.app import build_application
from deployments.settings import ServiceSettings
from tests.stand_in import grey_picture, open_stand_in, wait_until

ENGINE_S, BATCH = 0.020, 16
CAPACITY = BATCH / ENGINE_S
LOGGING = {"encoding": "JSON", "enable_access_log": False}
"""Serve's logging as in every file of `configs/`: no access log, because the service writes a line itself."""


@serve.deployment(max_ongoing_requests=1000)
class Ceiling:
    """The cheapest batching replica: collects requests while busy, waits as long as the engine would, and answers."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._running = 0
        self._engine = ThreadPoolExecutor(1)

    async def detect(self, picture: bytes) -> None:
        """Answers when the batch of this request is over."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._start()
        await answer

    def _engine_run(self) -> None:
        wait_until(time.perf_counter() + ENGINE_S)

    def _start(self) -> None:
        while self._waiting and (self._running == 0 or (self._running == 1 and len(self._waiting) >= BATCH)):
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._running += 1
            asyncio.get_running_loop().create_task(self._run(batch))

    async def _run(self, batch: list[asyncio.Future[None]]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._engine, self._engine_run)
        for answer in batch:
            answer.set_result(None)
        self._running -= 1
        self._start()


async def closed_loop(handle: DeploymentHandle, callers: int, seconds: float) -> float:
    """Returns answers per second to callers that each ask again as soon as they are answered."""
    picture, done = grey_picture(5, "JPEG"), 0
    begun = time.perf_counter()

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() - begun < seconds:
            await handle.detect.remote(picture)
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - begun)


async def lone(handle: DeploymentHandle, requests: int) -> list[float]:
    """Returns the latencies, ms, of single requests to an idle engine."""
    picture, took = grey_picture(5, "JPEG"), []
    for _ in range(requests):
        await asyncio.sleep(0.03)
        begun = time.perf_counter()
        await handle.detect.remote(picture)
        took.append((time.perf_counter() - begun) * 1000)
    return took


async def open_loop(handle: DeploymentHandle, rate: float, seconds: float) -> tuple[float, list[float]]:
    """Sends requests at a fixed rate without waiting for answers; returns answers per second, and latencies in ms."""
    picture, took = grey_picture(5, "JPEG"), []
    begun = time.perf_counter()

    async def request() -> None:
        sent = time.perf_counter()
        await handle.detect.remote(picture)
        took.append((time.perf_counter() - sent) * 1000)

    tasks = []
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(request()))
    await asyncio.gather(*tasks)
    return len(took) / (time.perf_counter() - begun), took


async def measure(handle: DeploymentHandle, seconds: float) -> dict[str, Any]:
    """Puts the three loads on one deployment, one after the other."""
    # The bytes of a request and the `Answer` need no cloudpickle, which is slower than plain pickle.
    handle = handle.options(request_serialization="pickle", response_serialization="pickle")
    await closed_loop(handle, 32, 2)
    closed = await closed_loop(handle, 32, seconds)
    alone = await lone(handle, 100)
    rate, took = await open_loop(handle, 300, seconds)
    return {
        "closed_loop_32_callers": {"rate": round(closed, 1), "of_capacity": round(closed / CAPACITY, 3)},
        "lone_request_ms": {"p50": round(statistics.median(alone), 2), "p95": round(sorted(alone)[94], 2)},
        "open_loop_300": {
            "rate": round(rate, 1),
            "p50_ms": round(statistics.median(took), 2),
            "p99_ms": round(sorted(took)[int(len(took) * 0.99)], 2),
        },
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ray.init(num_cpus=8, num_gpus=0, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    settings = ServiceSettings(batch_size=BATCH, num_gpus=0)
    applications = {"ceiling": Ceiling.bind(), "detector": build_application(settings, open_stand_in)}
    handles = {
        name: serve.run(application, name=name, route_prefix=None, logging_config=LOGGING)
        for name, application in applications.items()
    }
    results: dict[str, Any] = {
        "machine": machine(),
        "throughput_optimized": os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0"),
        "worker_niceness": os.environ.get("RAY_worker_niceness", "15"),  # noqa: SIM112 (Ray's spelling)
    }

    # As a replica does when it is ready. A full garbage collection would stop all callers for longer than a batch runs.
    gc.collect()
    gc.freeze()

    async def measure_all() -> None:
        for name, handle in handles.items():
            results[name] = await measure(handle, options.seconds)

    uvloop.run(measure_all())  # as Serve's proxies; one loop for all, because a handle is bound to its loop
    ours, most = (results[name]["closed_loop_32_callers"]["rate"] for name in ("detector", "ceiling"))
    results["closed_loop_of_ceiling"] = round(ours / most, 3)
    print(json.dumps(results, indent=2))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    ray.shutdown()  # not `serve.shutdown`, which would use handles whose loop has ended


if __name__ == "__main__":
    main()
