"""Tracing: the stages of a request as OpenTelemetry spans, children of Serve's span.

OpenTelemetry is imported only if Serve's `tracing_config` is on.
"""

from __future__ import annotations

import time
from typing import Any

from deployments.watching.record import RequestRecord


def export(record: RequestRecord, context: Any) -> None:
    """Writes the spans of a request whose body is ready: `decode`, `queue` and `engine` of each picture, and `encode`.

    Args:
        record: The request.
        context: Serve's trace context, from `serve.get_trace_context`.
    """
    from opentelemetry import trace

    trace.get_current_span(context).set_attribute("azaion.outcome", record.outcome)
    tracer = trace.get_tracer("azaion")
    epoch = time.time() - time.perf_counter()

    def span(stage: str, started: float, ended: float, **attributes: int) -> None:
        begun = tracer.start_span(stage, context, attributes=attributes, start_time=int((epoch + started) * 1e9))
        begun.end(int((epoch + ended) * 1e9))

    for number, times in enumerate(record.pictures):
        started = times.received
        for stage in ("decode", "queue", "engine"):
            ended = started + times.milliseconds()[stage] / 1000
            span(stage, started, ended, picture=number)
            started = ended
    if (encode := record.encode_s) is not None:
        span("encode", record.responded - encode, record.responded)


def export_if_traced(record: RequestRecord) -> None:
    """Writes the spans if Serve traces this request."""
    from ray import serve

    if (context := serve.get_trace_context()) is not None:
        export(record, context)


def otlp_exporter() -> list[Any]:
    """Returns the exporter to an OpenTelemetry collector, the `exporter_import_path` of Serve's `tracing_config`.

    The collector's address and all other settings come from the standard variables, e.g. OTEL_EXPORTER_OTLP_ENDPOINT.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return [BatchSpanProcessor(OTLPSpanExporter())]
