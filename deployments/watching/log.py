"""RequestLog: one structured line a request at most, through Serve's own logger.

A line costs a good part of what the rest of a request costs here (`benchmarks/service/metrics_cost.py`). So answers are
logged up to a rate at which this is nothing, failures and slow answers up to a much higher one, and a line that follows
others which were left out says how many they were.
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
"""Most lines of a second about failures and about answers slower than `SLOW_S`."""
SLOW_S = 1.0

_QUIET = ("/healthz", "/readyz")  # probes: a line every few seconds for ever, unless they fail


class RequestLog:
    """Writes the lines: JSON where Serve's `encoding` says so, else text that a person can read."""

    def __init__(self) -> None:
        """Asks Serve once where this replica belongs."""
        replica = serve.get_replica_context()
        self._context = {
            "application": replica.app_name,
            "deployment": replica.deployment,
            "replica": replica.replica_id.unique_id,
            # Serve's filters look this up anew for every line, which costs as much as the line itself.
            "skip_context_filter": True,
        }
        self._answers, self._notable = _Allowance(ANSWERS_PER_SECOND), _Allowance(NOTABLE_PER_SECOND)

    def write(self, record: RequestRecord) -> None:
        """Writes the line of a request that is over, unless there were too many in this second."""
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
    stages = {
        f"{stage}_ms": round(max(timing[stage] for timing, _ in record.pictures), 1)
        for stage in ("decode", "queue", "engine")
        if record.pictures
    }
    if (encode := record.encode_s) is not None:
        stages["encode_ms"] = round(encode * 1000, 1)
    return {
        "request_id": record.request_id,
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
    """So many lines a second."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._second = 0
        self._left = 0
        self._left_out = 0

    def take(self) -> int | None:
        """Takes one line: returns how many were left out before it, or None where this one is left out too."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._left = second, self._lines
        if not self._left:
            self._left_out += 1
            return None
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out
