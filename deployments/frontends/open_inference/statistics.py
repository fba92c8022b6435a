"""Statistics of one model on one replica since its start, in Triton's shape, which perf_analyzer reads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from deployments.watching.stage_times import StageTimes


class ModelStatistics:
    """Counts requests and their nanoseconds, stage by stage; used from one event loop only."""

    def __init__(self) -> None:
        """Starts at zero."""
        self._stages = {
            stage: {"count": 0, "ns": 0}
            for stage in (
                *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"),
                *("cache_hit", "cache_miss"),  # always zero: there is no cache, but readers expect them
            )
        }
        self._inferences = 0
        self._executions = 0
        self._last_inference = 0
        self._recent_batches: deque[float] = deque(maxlen=8)  # more than can run at a time

    def succeeded(self, seconds: float, parts: Sequence[StageTimes]) -> None:
        """Counts an answered request.

        Args:
            seconds: From the parsed request to the answer.
            parts: One for each of its pictures or rows; the slowest counts for each stage.
        """
        every = [part.milliseconds() for part in parts]
        slowest = {stage: max(times[stage] for times in every) for stage in every[0]}
        for stage, milliseconds in (
            ("success", seconds * 1e3),
            ("queue", slowest["queue"]),
            ("compute_input", slowest["decode"]),
            ("compute_infer", slowest["engine"]),
            ("compute_output", max(0.0, seconds * 1e3 - slowest["total"])),
        ):
            self._count(stage, milliseconds / 1e3)
        self._inferences += len(parts)
        for batch in {part.batch_started for part in parts}.difference(self._recent_batches):
            self._recent_batches.append(batch)
            self._executions += 1
        self._last_inference = time.time_ns() // 1_000_000

    def failed(self, seconds: float) -> None:
        """Counts a failed request of this duration."""
        self._count("fail", seconds)

    def to_dict(self) -> dict[str, Any]:
        """Returns the counters, named as in the protocol's `ModelStatistics`."""
        return {
            "last_inference": self._last_inference,
            "inference_count": self._inferences,
            "execution_count": self._executions,
            "inference_stats": {stage: dict(counted) for stage, counted in self._stages.items()},
            "batch_stats": [],
        }

    def _count(self, stage: str, seconds: float) -> None:
        self._stages[stage]["count"] += 1
        self._stages[stage]["ns"] += round(seconds * 1e9)
