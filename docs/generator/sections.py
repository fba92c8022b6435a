"""Sections of written pages that come from records or pyproject.toml, between `<!-- FILE -->` and `<!-- end -->`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.records.report import insert
from benchmarks.records.report import table as short_table
from docs.generator.tables import code, table

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "benchmarks" / "results"

_HTTP = (
    ("one process, JPEG bytes to boxes", None),
    ("HTTP, 1 client", 1),
    ("HTTP, 64 clients", 64),
    ("HTTP, 128 clients", 128),
    ("HTTP, 256 clients", 256),
)


def architecture() -> str:
    """Returns the page of the architecture with the arrows of the import contracts."""
    return _filled("explanation/architecture.md", {"pyproject.toml": arrows})


def performance() -> str:
    """Returns the page of the performance with the tables of its records."""
    names = ("h200_640_mosec.json", "h200_1280_mosec.json", "cpu_2_cores_saturated.json")
    return _filled("explanation/performance.md", {"h200_http.json": one_gpu, **_short_tables(names)})


def benchmarks() -> str:
    """Returns benchmarks/README.md with the tables of its records."""
    return _filled("../benchmarks/README.md", {"h200_http.json": one_gpu, **_short_tables(["h100_peers.json"])})


def _short_tables(names: Sequence[str]) -> dict[str, Callable[[], str]]:
    return {name: partial(lambda name: short_table(_record(name), short=True), name) for name in names}


def _filled(page: str, made: dict[str, Callable[[], str]]) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for name, make in made.items():
        text = insert(text, name, f"\n{make()}\n")
    return text


def _record(name: str) -> Any:
    return json.loads((RECORDS / name).read_text())


def arrows() -> str:
    """Returns a table of the layers of each contract, highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = []
    for contract in contracts:
        if contract["type"] == "layers":
            within = " ".join(map(code, contract.get("containers", ())))
            floors = (" │ ".join(map(code, re.findall(r"[\w.]+", layer))) for layer in contract["layers"])
            rows.append((within or "between packages", " → ".join(floors)))
    return table(("in", "from the highest to the lowest"), rows)


def one_gpu() -> str:
    """Returns the table of host D of h200_http.json: what each load reached at both sizes."""
    runs = {run["size"]: run for run in _record("h200_http.json")["runs"] if run["step"].startswith("peers")}
    alone = {size: run["in_process"]["engine_rate"] for size, run in runs.items()}
    rows = [("the engine alone, its input on the GPU already", *(f"{rate:,.0f}" for rate in alone.values()))]
    for label, clients in _HTTP:
        cells = [label]
        for size, run in runs.items():
            loads = [load for load in run["loads"] if load["connections"] == clients and "pause_ms" not in load]
            loads.sort(key=lambda load: load["rate"])
            rates = [load["rate"] for load in loads] if clients else [run["in_process"]["pipeline_rate"]]
            text = ", ".join(f"{rate:,.0f} ({rate / alone[size]:.2f})" for rate in rates)
            if clients == 1:
                text = f"{rates[0]:,.0f}, p50 {loads[0]['p50_ms']} ms"
            elif clients:
                text += ", p99 " + ", ".join(f"{load['p99_ms']:.0f}" for load in loads) + " ms" if loads else ""
            cells.append(text)
        rows.append(tuple(cells))
    return table(("pictures a second", *(f"{size}²" for size in runs)), rows)
