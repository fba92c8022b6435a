"""Made records: as `benchmarks.peers.compare` writes them, but small enough to check by hand."""

from __future__ import annotations

from typing import Any


def load(connections: int, rate: float, p95_ms: float = 200.0, errors: int = 0) -> dict[str, Any]:
    return {
        "connections": connections,
        "rate": rate,
        "p50_ms": p95_ms / 2,
        "p95_ms": p95_ms,
        "p99_ms": p95_ms * 2,
        "requests": round(rate * 10) + errors,
        "errors": errors,
        "processor_ms_per_picture": {"wrk": 0.5},
    }


def measured(server: str, workers: int, *loads: dict[str, Any]) -> dict[str, Any]:
    return {"server": server, "workers": workers, "loads": list(loads)}


def record_of(*rounds: tuple[float, list[dict[str, Any]]]) -> dict[str, Any]:
    """Makes a record from rounds of (rate of the pipeline in process, servers)."""
    return {
        "machine": {"gpu": None, "cores": 2, "cpu": "a processor"},
        "rounds": [
            {
                "in_process": {"engine": "stand-in", "engine_rate": pipeline * 1.2, "pipeline_rate": pipeline},
                "servers": servers,
            }
            for pipeline, servers in rounds
        ],
    }


RECORD = record_of(
    (10.0, [measured("azaion", 1, load(1, 5.0), load(2, 9.0)), measured("mosec", 2, load(2, 8.0, errors=3))]),
    (20.0, [measured("azaion", 1, load(1, 12.0), load(2, 19.0)), measured("mosec", 2, load(2, 20.0))]),
    (10.0, [measured("azaion", 1, load(1, 5.5), load(2, 9.2)), measured("mosec", 2, load(2, 8.0))]),
)
