"""Metrics cost: measures in a replica what metrics and log cost per request, by part, in microseconds of one core.

    python -m benchmarks.service.metrics_cost [--json FILE]

Each figure is the minimum of several rounds. With RAY_SERVE_THROUGHPUT_OPTIMIZED=1 in the environment it measures
Serve's throughput mode, which buffers log lines before it writes them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import serve

from benchmarks.records.machine import machine
from deployments.watching.histogram import CounterHistogram
from deployments.watching.log import RequestLog, _fields, _text
from deployments.watching.metrics import STAGES, ServiceMetrics
from deployments.watching.record import RequestRecord
from deployments.watching.stage_times import StageTimes

TIMES = StageTimes(decode=3.1, queue=4.2, engine=7.5, total=15.1, received=0.0, batch_started=0.0073)
"""Times of every picture."""
ROUNDS = 7


def microseconds(call: Callable[[], object], calls: int) -> float:
    """Returns the microseconds of one call, in the fastest round."""
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter() - begun) / calls * 1e6)
    return round(min(rounds), 2)


@serve.deployment(logging_config={"encoding": "JSON", "enable_access_log": False})
class Replica:
    """Measures within a replica, because metrics and log need a process that Serve has set up."""

    async def measure(self) -> dict[str, float]:
        """Returns the microseconds of each part."""
        from ray.serve.metrics import Counter, Gauge, Histogram

        # Imported here because a context variable cannot be pickled with this class.
        from deployments.watching.middleware import RequestMiddleware
        from deployments.watching.record import current_request

        logger = logging.getLogger("ray.serve")
        counter = Counter("cost_requests", tag_keys=("outcome",))
        histogram = Histogram("cost_stage_seconds", boundaries=[0.001 * 2**i for i in range(14)], tag_keys=("stage",))
        gauge = Gauge("cost_depth")
        metrics = ServiceMetrics(batch_size=16, max_queue=128, gpu=None)
        metrics.opened("none", None, lambda: 0)
        metrics.close()  # ends its thread: this function flushes

        def record() -> RequestRecord:
            request = RequestRecord("3849055c-9d72-4123-9ae3-a43c94846687", "POST", "/detect")
            request.answered(TIMES)
            request.respond(200)
            return request

        request = record()

        def note() -> None:
            metrics._pictures.append(("none", TIMES))
            metrics.request_over(record())

        def flush(requests: int) -> float:
            times = []
            for _ in range(ROUNDS):
                for _ in range(requests):
                    note()
                begun = time.perf_counter()
                metrics._flush()
                times.append((time.perf_counter() - begun) * 1e6)
            return min(times)

        empty, full = flush(1), flush(2000)
        scope = {"type": "http", "method": "POST", "headers": [(b"host", b"a"), (b"x-request-id", b"b")] * 4}

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            if (current := current_request.get()) is not None:
                metrics._pictures.append(("none", TIMES))
                current.answered(TIMES)
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        async def send(message: Any) -> None:
            pass

        async def ask(app: Any) -> float:
            rounds = []
            for _ in range(ROUNDS):
                begun = time.perf_counter()
                for _ in range(2000):
                    await app(scope, None, send)
                rounds.append((time.perf_counter() - begun) / 2000 * 1e6)
                metrics._flush()
            return min(rounds)

        watched = await ask(RequestMiddleware(answer, metrics.request_over)) - await ask(answer)
        log = RequestLog()
        fields = _fields(request)
        own = CounterHistogram("cost_own_seconds", "", [0.001 * 2**i for i in range(14)], "stage", STAGES)
        return {
            "Counter.inc with a label": microseconds(lambda: counter.inc(1, {"outcome": "ok"}), 2000),
            "Gauge.set": microseconds(lambda: gauge.set(3), 2000),
            "Histogram.observe with a label": microseconds(lambda: histogram.observe(0.01, {"stage": "engine"}), 2000),
            "the request path: one picture noted, one request noted": microseconds(note, 2000),
            "the request path, whole: RequestMiddleware around an application, less that application": round(
                watched, 2
            ),
            "the thread: one account a second, however many requests": round(empty, 1),
            "the thread: a request of that account": round((full - empty) / 2000, 2),
            "CounterHistogram.add, an observation of 1000": round(
                microseconds(lambda: own.add("engine", [0.01] * 1000), 10) / 1000, 2
            ),
            "serve.get_trace_context, tracing off": microseconds(serve.get_trace_context, 2000),
            "logger.info with Serve's filters": microseconds(lambda: logger.info(_text(fields), extra=fields), 200),
            "the request's line, written": microseconds(
                lambda: logger.info(_text(_fields(request)), extra={**log._context, **_fields(request)}), 200
            ),
            "the request's line, left out": microseconds(lambda: log.write(request), 2000),
        }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    handle = serve.run(Replica.bind(), route_prefix=None)

    async def ask() -> dict[str, float]:
        return await handle.measure.remote()

    costs = asyncio.run(ask())
    ray.shutdown()
    for name, cost in costs.items():
        print(f"| {name} | {cost} |")
    if options.json:
        throughput = os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0")
        record = {"machine": machine(), "throughput_optimized": throughput, "microseconds": costs}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
