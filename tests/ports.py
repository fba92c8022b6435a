"""Ports: the table of SECURITY.md, and what listens in reality."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import psutil

from azaion_cli.checks.listeners import Listener, listeners

SECURITY = Path(__file__).parents[1] / "SECURITY.md"


def table() -> dict[str, dict[str, str]]:
    """Returns the section "Ports": first words of a row → heading of a column → where the port listens."""
    section = SECURITY.read_text().partition("## Ports\n")[2].partition("\n## ")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"
    ]
    return {row[0].partition(":")[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def listeners_of(pid: int) -> list[Listener]:
    """Returns what a process and its descendants listen on."""
    family = {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    return [each for each in listeners() if each.pid in family]


def row_of(listener: Listener, http: int, grpc: int | None, haproxy: bool) -> str:
    """Returns the row of the table that a listener belongs to.

    Args:
        listener: Of a service.
        http: Its port of HTTP.
        grpc: Its port of gRPC, if it has one.
        haproxy: Whether it has HAProxy; without it, a port that Ray chose may lie in the range of those behind it.
    """
    process, port = listener.process, listener.port
    if port == http:
        return "HTTP"
    if port == grpc:
        return "gRPC, where it is asked for"
    if "haproxy" in process and not process.startswith("ray::"):
        return "HAProxy's statistics and metrics"
    if "dashboard.py" in process or "monitor.py" in process:
        return "Ray's dashboard" if f"--port={port} " in process else "metrics of Ray's dashboard and autoscaler"
    if "ray.util.client.server" in process:
        return "Ray Client"
    for start, row in (
        ("ray::DashboardAgent", "Ray's dashboard agent"),
        ("ray::RuntimeEnvAgent", "Ray's runtime environment agent"),
    ):
        if process.startswith(start):
            return row
    if re.search(r"/(gcs_server|raylet) ", process):
        return "GCS"
    if process.startswith("ray::ProxyActor") and port in (8500, 9500):
        return "Serve's fallback proxy beside HAProxy"
    if haproxy and process.startswith("ray::ServeReplica") and 30_000 <= port < 31_000:
        return "HTTP of a replica behind HAProxy"
    if haproxy and process.startswith("ray::ServeReplica") and 40_000 <= port < 41_000:
        return "gRPC of a replica behind HAProxy"
    return "Ray's processes, each replica's gRPC for other deployments"


def unlike_table(found: Iterable[Listener], column: str, http: int, grpc: int | None, haproxy: bool) -> list[str]:
    """Returns what listens otherwise than a column of the table says; arguments as for `row_of`."""
    rows = table()
    wrong = []
    for each in found:
        row = row_of(each, http, grpc, haproxy)
        told = rows[row][column]
        if (told == "loopback") != each.is_local and not (told in ("all", "node") and row == "Ray's dashboard agent"):
            wrong.append(f"{row}: {each.address}:{each.port} ({each.process[:60]}), the table says {told}")
    return wrong
