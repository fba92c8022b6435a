"""Page of the metrics: what a replica registers with Ray, under the names that Prometheus sees."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from deployments.watching import metrics as service
from docs.generator.tables import code, page, table

PACKAGE = Path(__file__).parents[2] / "deployments"
_KINDS = {"Counter": "counter", "Gauge": "gauge", "CounterHistogram": "histogram"}


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
        "deployments/watching/metrics.py and the like",
        "Ray serves them to Prometheus, each with the labels `application`, `deployment` and `replica` too; "
        "[Monitoring](../guides/monitoring.md) shows how to ask for them. A histogram is made of counters: "
        "`…_bucket_total` by `le`, `…_sum_total` and `…_count_total`, which `histogram_quantile` takes.",
        table(
            ("metric", "type", "labels", ""),
            ((code(one.name), one.kind, ", ".join(map(code, one.labels)), one.help) for one in registered()),
        ),
        "`stage` is one of " + ", ".join(map(code, service.STAGES)) + "; `reason` is the code of an "
        "[error](errors.md); `outcome` is one, too, or `ok`, `partial` (some pictures of several failed) or "
        "`cancelled` (the client left), of a load `loaded` or `failed`. `ray_azaion_model_…` are those of rarely used "
        "models.",
    )


def registered() -> list[Metric]:
    """Returns the metrics that the service's modules register, in the order of the modules."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py"), reverse=True):  # watching, which every service has, before multiplexing
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda call: call.lineno):
            kind = _KINDS.get(ast.unparse(call.func))
            if kind and isinstance(call.args[0], ast.Constant):  # CounterHistogram makes its counters' names itself
                found.append(_metric(kind, call.args))
    return found


def _metric(kind: str, arguments: list[ast.expr]) -> Metric:
    name, text = ast.literal_eval(arguments[0]), ast.literal_eval(arguments[1])
    if kind == "histogram":
        return Metric(f"ray_{name}", kind, (ast.literal_eval(arguments[3]),), text)
    labels = ast.literal_eval(arguments[2]) if len(arguments) > 2 else ()
    end = "" if kind == "gauge" or name.endswith("_total") else "_total"
    return Metric(f"ray_{name}{end}", kind, labels, text)
