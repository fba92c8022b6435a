"""Page of the metrics: what a replica registers with Ray, under the names that Prometheus sees."""

from __future__ import annotations

from typing import Any, NamedTuple
from unittest import mock

from deployments.multiplexing import cache_metrics
from deployments.watching import metrics as service
from docs.generator.tables import code, page, table


class Metric(NamedTuple):
    """One registered metric.

    Attributes:
        name: As Prometheus sees it.
        kind: Counter, gauge or histogram.
        labels: Its own, beside those that Ray adds.
        help: Its description.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def metrics() -> str:
    """Returns the page."""
    return page(
        "Metrics",
        "deployments/watching/metrics.py and deployments/multiplexing/cache_metrics.py",
        "Ray serves them to Prometheus, each with the labels `application`, `deployment` and `replica` too; "
        "[Monitoring](../guides/monitoring.md) shows how to ask for them. A histogram is made of counters: "
        "`…_bucket_total` by `le`, `…_sum_total` and `…_count_total`, which `histogram_quantile` takes.",
        table(
            ("metric", "type", "labels", ""),
            ((code(one.name), one.kind, ", ".join(map(code, one.labels)), one.help) for one in registered()),
        ),
        "`stage` is one of " + ", ".join(map(code, service.STAGES)) + "; `reason` is the code of an "
        "[error](errors.md); `outcome` is one, too, or `ok`, `partial` (some pictures of several failed) or "
        "`cancelled` (the client left).",
    )


def registered() -> list[Metric]:
    """Returns the metrics that `ServiceMetrics` and `CacheMetrics` register, in their order."""
    found: list[Metric] = []

    def recorder(kind: str) -> type:
        class Recorder:
            def __init__(self, name: str, description: str, *rest: Any) -> None:
                if kind == "histogram":
                    _, label, _ = rest
                    found.append(Metric(f"ray_{name}", kind, (label,), description))
                    return
                labels = rest[0] if rest else ()
                end = "" if kind == "gauge" or name.endswith("_total") else "_total"
                found.append(Metric(f"ray_{name}{end}", kind, tuple(labels), description))

            def set(self, *_: Any) -> None: ...

        return Recorder

    with (
        mock.patch.object(service, "Counter", recorder("counter")),
        mock.patch.object(service, "Gauge", recorder("gauge")),
        mock.patch.object(service, "CounterHistogram", recorder("histogram")),
        mock.patch.object(service.threading, "Thread"),
        mock.patch.object(cache_metrics, "Counter", recorder("counter")),
        mock.patch.object(cache_metrics, "Gauge", recorder("gauge")),
    ):
        service.ServiceMetrics(batch_size=1, max_queue=1, gpu=None)
        cache_metrics.CacheMetrics(())
    return found
