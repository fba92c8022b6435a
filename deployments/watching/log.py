"""RequestLog: at most one structured line per request, through Serve's logger.

A line is expensive compared with the rest of a request (`benchmarks/service/metrics_cost.py`). So the lines per second
are limited: a low limit for usual answers, a higher one for failures and slow answers. The first line after omitted
ones has their number in `left_out`.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from ray import serve

from deployments.watching.record import RequestRecord

logger = logging.getLogger("ray.serve")

ANSWERS_PER_SECOND = 10
NOTABLE_PER_SECOND = 100
"""Maximum lines per second for failures and for answers slower than `SLOW_S`."""
SLOW_S = 1.0

_QUIET = ("/healthz", "/readyz")  # frequent health checks: logged only if they fail


class RequestLog:
    """Writes the lines: JSON if Serve's `encoding` says so, else text."""

    def __init__(self) -> None:
        """Reads application, deployment and replica from Serve once."""
        replica = serve.get_replica_context()
        self._context = {
            "application": replica.app_name,
            "deployment": replica.deployment,
            "replica": replica.replica_id.unique_id,
            # Without it, Serve's filters look up the context for every line, as expensive as the line.
            "skip_context_filter": True,
        }
        self._answers, self._notable = _Allowance(ANSWERS_PER_SECOND), _Allowance(NOTABLE_PER_SECOND)

    def write(self, record: RequestRecord) -> None:
        """Writes the line of a finished request, unless this second's limit is reached."""
        ok = record.status < 400
        if ok and record.route in _QUIET:
            return
        usual = ok and time.perf_counter() - record.started < SLOW_S
        left_out = (self._answers if usual else self._notable).take()
        if left_out is None:
            return
        fields = _fields(record)
        if left_out:
            fields["left_out"] = left_out
        level = logging.WARNING if record.status >= 500 else logging.INFO
        logger.log(level, _text(fields), extra={**self._context, **fields})


def _fields(record: RequestRecord) -> dict[str, Any]:
    pictures = [times.milliseconds() for times in record.pictures]
    stages = {
        f"{stage}_ms": round(max(times[stage] for times in pictures), 1)
        for stage in ("decode", "queue", "engine")
        if pictures
    }
    if (encode := record.encode_s) is not None:
        stages["encode_ms"] = round(encode * 1000, 1)
    return {
        "request_id": record.request_id,
        **({"key": record.key} if record.key else {}),
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "outcome": record.outcome,
        "duration_ms": round((time.perf_counter() - record.started) * 1000, 1),
        "pictures": len(record.pictures),
        **stages,
    }


def _text(fields: dict[str, Any]) -> str:
    stages = " ".join(
        f"{name[:-3]} {fields[name]}" for name in fields if name.endswith("_ms") and name != "duration_ms"
    )
    return "{method} {route} {status} {outcome} {duration_ms} ms".format(**fields) + (f" ({stages})" if stages else "")


class _Allowance:
    """Limit of lines per second."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._second = 0
        self._left = 0
        self._left_out = 0

    def take(self) -> int | None:
        """Takes one line: returns how many were omitted before it, or None if this one is omitted too."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, self._lines
        if not self._left:
            self._left_out += 1
            return None
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def show_library_log() -> None:
    """Sends the library's log, e.g. of engine builds, to the handlers of Serve's log."""
    library = logging.getLogger("azaion_engine")
    library.setLevel(logging.INFO)
    library.handlers = list(logger.handlers)
    library.propagate = not logger.handlers
