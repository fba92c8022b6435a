"""Watching: measures the cost of metrics, request log and X-Request-ID on POST /detect, by leaving them out.

    python -m benchmarks.service.watching [--json FILE] [--seconds 1] [--rounds 80]

Two applications run on one Serve with the stand-in engine (20 ms per batch of 16). The same clients ask them in turns
over HTTP. `watched` is the service as shipped. `before` has no metrics of its own, and Serve's access log instead of
the service's. The result is the ratio of the processor time that a replica spends on a request, with the standard error
over the rounds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import ray
from ray import serve

from azaion_engine.detector import Detector
from benchmarks.records.machine import machine
from deployments.app import build_application
from deployments.settings import ServiceSettings
from tests.stand_in import grey_picture, open_stand_in

URL = "http://127.0.0.1:8000"
CLIENTS = 16
LOGGING = {
    "before": {"encoding": "TEXT", "enable_access_log": True},
    "watched": {"encoding": "JSON", "enable_access_log": False},
}


def open_before(settings: ServiceSettings) -> Detector:
    """Opens the stand-in in a replica's process, and disables metrics and log there."""
    from deployments.watching.metrics import ServiceMetrics
    from deployments.watching.middleware import RequestMiddleware

    def nothing(*args: Any, **kwargs: Any) -> None:
        pass

    async def pass_on(watch: RequestMiddleware, scope: Any, receive: Any, send: Any) -> None:
        await watch._app(scope, receive, send)

    for name in ("__init__", "answered", "batch", "close"):
        setattr(ServiceMetrics, name, nothing)
    RequestMiddleware.__call__ = pass_on  # type: ignore[method-assign]
    return open_stand_in(settings)


def processor_seconds(pid: int) -> float:
    """Returns the user and system time that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(path: str, pid: int, seconds: float) -> dict[str, float]:
    """Returns the rate of closed-loop clients, and the replica's processor time per request (`replica_us`)."""
    picture, done = grey_picture(5, "JPEG", 256), [0] * CLIENTS
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(URL).netloc, timeout=30)
        while time.perf_counter() < end:
            connection.request("POST", path, picture)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise SystemExit(f"status {response.status}")
            done[number] += 1

    begun, used = time.perf_counter(), processor_seconds(pid)
    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests = sum(done)
    return {
        "rate": round(requests / (time.perf_counter() - begun), 1),
        "replica_us": round((processor_seconds(pid) - used) / requests * 1e6),
    }


def ratio(rounds: list[dict[str, Any]], what: str) -> dict[str, float]:
    """Returns the geometric mean of `watched` over `before`, taken within each round, and its standard error."""
    logs = [math.log(found["watched"][what] / found["before"][what]) for found in rounds]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    return {"mean": round(math.exp(mean), 4), "standard_error": round(error, 4)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ray.init(num_cpus=8, num_gpus=0, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": 8000}, logging_config=LOGGING["watched"])
    pids = {}
    for name, opener in (("before", open_before), ("watched", open_stand_in)):
        application = build_application(ServiceSettings(batch_size=16, num_gpus=0), opener)
        serve.run(application, name=name, route_prefix=f"/{name}", logging_config=LOGGING[name])
        pids[name] = int(httpx.get(f"{URL}/{name}/model").json()["engine"].rsplit(" ", 1)[1])
        load(f"/{name}/detect", pids[name], 3)
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        order = list(pids.items())[:: 1 if number % 2 else -1]
        found = {name: load(f"/{name}/detect", pid, options.seconds) for name, pid in order}
        rounds.append(found)
    ray.shutdown()
    medians = {
        what: {name: statistics.median(r[name][what] for r in rounds) for name in pids}
        for what in ("rate", "replica_us")
    }
    summary: dict[str, Any] = {
        **medians,
        "rate_ratio": ratio(rounds, "rate"),
        "replica_us_ratio": ratio(rounds, "replica_us"),
    }
    print(json.dumps(summary, indent=2))
    if options.json:
        throughput = os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0")
        record = {"machine": machine(), "throughput_optimized": throughput, **summary, "rounds": rounds}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
