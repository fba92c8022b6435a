"""Generated pages: their paths below docs/, and what writes each."""

from __future__ import annotations

from collections.abc import Callable

from docs.generator.command_line import command_line
from docs.generator.configuration import configuration
from docs.generator.errors import errors
from docs.generator.http import http
from docs.generator.metrics import metrics
from docs.generator.sections import architecture, benchmarks, performance

PAGES: dict[str, Callable[[], str]] = {
    "reference/http.md": http,
    "reference/configuration.md": configuration,
    "reference/command-line.md": command_line,
    "reference/errors.md": errors,
    "reference/metrics.md": metrics,
    "explanation/architecture.md": architecture,
    "explanation/performance.md": performance,
    "../benchmarks/README.md": benchmarks,
}

PLOTS = ("h200_640_mosec.svg",)
"""Plots of `benchmarks/results` that pages show, copied to `assets`."""
