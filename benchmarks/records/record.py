"""Record: what `benchmarks.peers.compare` wrote, and the figures that follow from it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMES = {
    "azaion": "azaion-engine",
    "azaion-throughput": "azaion-engine, throughput mode",
    "mosec": "mosec",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "pytriton": "NVIDIA PyTriton",
}
"""Names of the servers in tables and plots."""
Record = Mapping[str, Any]

_MEDIANS = ("rate", "ratio", "p50_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True)
class Load:
    """One server under one load, medians of all rounds.

    Attributes:
        server: One of `NAMES`.
        workers: Copies of the detector.
        connections: Closed-loop clients.
        rate: Right answers per second.
        ratio: Rate over the limit's rate (`limit_of`), taken within each round.
        p50_ms: Median latency.
        p95_ms: 95th percentile of the latency.
        p99_ms: 99th percentile of the latency.
        errors: Wrong answers and failed requests of all rounds.
    """

    server: str
    workers: int
    connections: int
    rate: float
    ratio: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int


def limit_of(record: Record) -> tuple[str, str]:
    """Returns the limit that rates are compared with, as (key of `in_process`, name).

    On a GPU it is the engine alone, because pictures can be decoded while the network runs. A CPU has to do both, so
    there it is the pipeline in process.
    """
    on_gpu = record["machine"].get("gpu")
    return ("engine_rate", "engine alone") if on_gpu else ("pipeline_rate", "pipeline in process")


def summarise(record: Record) -> list[Load]:
    """Returns every load of every server, with the number of workers that serves it best, in the order measured."""
    grouped: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    limit, _ = limit_of(record)
    for one in record["rounds"]:
        for measured in one["servers"]:
            for load in measured["loads"]:
                ratio = load["rate"] / one["in_process"][limit]
                key = (measured["server"], measured["workers"], load["connections"])
                grouped.setdefault(key, []).append({**load, "ratio": ratio})
    loads = [
        Load(
            *key,
            **{name: statistics.median(m[name] for m in measured) for name in _MEDIANS},
            errors=sum(m["errors"] for m in measured),
        )
        for key, measured in grouped.items()
    ]
    best = {load.server: load.workers for load in sorted(loads, key=lambda load: load.ratio)}
    return [load for load in loads if load.workers == best[load.server]]


def saturated(loads: Sequence[Load]) -> list[Load]:
    """Returns each server's load with the best rate."""
    best = {load.server: load for load in sorted(loads, key=lambda load: load.rate)}
    return [best[server] for server in dict.fromkeys(load.server for load in loads)]


def ours_over_best_peer(record: Record) -> tuple[float, str, str]:
    """Returns this service's best rate over the best peer's, as the median over rounds, and the names of the two."""
    loads = sorted(summarise(record), key=lambda load: load.ratio)
    best = {load.server.startswith("azaion"): load for load in loads}
    ours, peer = best[True], best[False]
    ratios = [_best_rate(one, ours) / _best_rate(one, peer) for one in record["rounds"] if _has(one, ours, peer)]
    return statistics.median(ratios), ours.server, peer.server


def _has(one: Record, *loads: Load) -> bool:
    measured = {(server["server"], server["workers"]) for server in one["servers"]}
    return all((load.server, load.workers) in measured for load in loads)


def _best_rate(one: Record, of: Load) -> float:
    [server] = [found for found in one["servers"] if (found["server"], found["workers"]) == (of.server, of.workers)]
    return float(max(load["rate"] for load in server["loads"]))
