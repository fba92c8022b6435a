"""Load: puts load on an HTTP server with wrk, from closed-loop connections; check.lua checks every answer.

wrk is a load generator (https://github.com/wg/wrk; `apt install wrk`, `brew install wrk`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CORNERS = ("x1", "y1", "x2", "y2")
SCRIPT = Path(__file__).with_name("check.lua")
PATIENCE_S = 60
"""Timeout of a request, seconds; wrk's default of 2 s is too short for a CPU under load."""

Box = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """One HTTP POST, the same for every client.

    Attributes:
        path: Path of the URL.
        body: Body of the request.
        headers: Headers other than Host and Content-Length.
    """

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def put_load(
    url: str,
    request: Request,
    boxes: Sequence[Box],
    connections: int,
    seconds: float,
    threads: int = 1,
    pause_ms: float = 0,
) -> dict[str, Any]:
    """Posts the request from closed-loop connections and returns rate, latencies and errors.

    Args:
        url: The server, e.g. `http://127.0.0.1:8000`.
        request: Request of every client.
        boxes: Boxes of the right answer.
        connections: Clients; each asks again as soon as it is answered.
        seconds: Duration, at least 1.
        threads: Threads of wrk; one is enough for thousands of requests per second.
        pause_ms: Mean pause of a client before it asks again; it does not count as latency.

    Returns:
        `connections`, `rate` (right answers per second), `p50_ms`, `p95_ms`, `p99_ms`, `requests`, `errors`, and
        `first_wrong` if an answer was wrong.

    Raises:
        SystemExit: wrk is not installed or fails.
    """
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: `apt install wrk`, `brew install wrk`, or https://github.com/wg/wrk")
    with tempfile.NamedTemporaryFile() as body:
        body.write(request.body)
        body.flush()
        command = ["wrk", f"--connections={connections}", f"--threads={min(threads, connections)}"]
        command += [f"--duration={round(seconds)}s", f"--timeout={PATIENCE_S}s", f"--script={SCRIPT}"]
        command += [part for name, value in request.headers.items() for part in ("--header", f"{name}: {value}")]
        command += [url + request.path, "--", body.name, str(len(boxes))]
        command += [f"{sum(box[corner] for box in boxes):.2f}" for corner in CORNERS] + [f"{pause_ms:.3f}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"wrk failed with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return {"connections": connections, **parse_report(done.stdout)}


def parse_report(output: str) -> dict[str, Any]:
    """Reads the line that check.lua prints after wrk's own report.

    Raises:
        ValueError: There is no such line, or more than one.
    """
    lines = [line for line in output.splitlines() if line.startswith('{"requests"')]
    if len(lines) != 1:
        raise ValueError(f"expected one line of check.lua in wrk's report, found {len(lines)} in: {output[-500:]!r}")
    report = json.loads(lines[0])
    result = {
        "rate": round((report["requests"] - report["wrong"]) / report["seconds"], 3),
        **{f"{name}_ms": round(report[f"{name}_us"] / 1000, 1) for name in ("p50", "p95", "p99")},
        "requests": report["requests"],
        "errors": sum(report[kind] for kind in ("wrong", "connect", "read", "write", "timeout")),
    }
    return {**result, "first_wrong": report["first_wrong"]} if report["wrong"] else result
