"""CounterHistogram: a Prometheus histogram made of Ray counters, cheap per observation.

Ray's own Histogram is slow per observation. Its node agent then records every observation again in Python, as the
middle of its bucket: the sum in Prometheus is not the observed sum
(`OpenTelemetryMetricRecorder.record_histogram_aggregated_batch` of Ray 2.60; `benchmarks/service/metrics_cost.py` shows
both). Ray's Counter adds any amount at once and exactly, and PromQL's `histogram_quantile` needs only counters with an
`le` label.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Collection, Sequence

from ray.serve.metrics import Counter

_NEARLY_ZERO = sys.float_info.min
"""Ray's counters refuse 0; this is rounded away in every later sum."""


class CounterHistogram:
    """Counters `{name}_bucket` by `le`, `{name}_sum` and `{name}_count`; Ray adds `ray_` before, `_total` after."""

    def __init__(
        self, name: str, description: str, bounds: Sequence[float], label: str, values: Collection[str]
    ) -> None:
        """Registers the counters; every bucket exists from the start.

        Args:
            name: Name with its unit, e.g. `azaion_stage_seconds`.
            description: What is observed.
            bounds: Upper bounds of the buckets, ascending; `+Inf` is added.
            label: The one label besides `le`.
            values: Values of the label; `begin` adds others.
        """
        self._bounds = bounds
        self._label = label
        self._upper = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._bucket = Counter(f"{name}_bucket", f"{description} Observations up to `le`.", (label, "le"))
        self._sum = Counter(f"{name}_sum", f"{description} Sum.", (label,))
        self._count = Counter(f"{name}_count", f"{description} Number.", (label,))
        for value in values:
            self.begin(value)

    def begin(self, value: str) -> None:
        """Creates the buckets of a value of the label.

        Without the empty ones below the first filled one, histogram_quantile takes 0 as its lower bound.
        """
        for upper in self._upper:
            self._bucket.inc(_NEARLY_ZERO, {self._label: value, "le": upper})

    def add(self, value: str, observations: Sequence[float]) -> None:
        """Adds observations under one value of the label."""
        counts = [0] * len(self._upper)
        for observation in observations:
            counts[bisect_left(self._bounds, observation)] += 1
        below = 0
        for upper, count in zip(self._upper, counts, strict=True):
            below += count
            if below:
                self._bucket.inc(below, {self._label: value, "le": upper})
        if below:
            self._count.inc(below, {self._label: value})
        if (total := sum(observations)) > 0:
            self._sum.inc(total, {self._label: value})
