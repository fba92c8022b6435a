"""Makes a table and a plot of what `benchmarks.peers.compare` has measured.

    python -m benchmarks.records.report FILE [--plot FILE.svg] [--into README.md] [--short]

`--short` keeps each server's load with the best rate, and compares it with the pipeline in process, on a GPU with the
engine alone. `--into` puts the table between the lines `<!-- FILE -->` and `<!-- end -->` of a Markdown file, FILE
being the name of the results.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = {
    "azaion": "azaion-engine",
    "azaion-throughput": "azaion-engine, throughput mode",
    "mosec": "mosec",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "pytriton": "NVIDIA PyTriton",
}
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Load:
    """One server under one load, medians of all rounds.

    Attributes:
        server: One of `NAMES`.
        workers: Copies of the detector.
        connections: Closed-loop clients.
        rate: Right answers per second.
        ratio: Of the rate and the limit's (`limit_of`), taken within each round.
        p50_ms: Median latency.
        p95_ms: 95 of 100 answers came sooner.
        p99_ms: 99 of 100 answers came sooner.
        errors: Wrong answers and failed requests of all rounds.
    """

    server: str
    workers: int
    connections: int
    rate: float
    ratio: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int


def limit_of(record: Record) -> tuple[str, str]:
    """Returns what rates are compared with, as (key of `in_process`, name).

    A GPU decodes beside the network, and the engine is what it could be kept busy with at most; a CPU has to do both.
    """
    on_gpu = record["machine"].get("gpu")
    return ("engine_rate", "engine alone") if on_gpu else ("pipeline_rate", "pipeline in process")


def summarise(record: Record) -> list[Load]:
    """Returns every load of every server with the number of workers that serves it best, in the order measured."""
    grouped: dict[tuple[str, int, int], list[dict[str, Any]]] = {}
    limit, _ = limit_of(record)
    for one in record["rounds"]:
        for measured in one["servers"]:
            for load in measured["loads"]:
                ratio = load["rate"] / one["in_process"][limit]
                key = (measured["server"], measured["workers"], load["connections"])
                grouped.setdefault(key, []).append({**load, "ratio": ratio})
    loads = [
        Load(
            *key,
            **{name: statistics.median(m[name] for m in measured) for name in _MEDIANS},
            errors=sum(m["errors"] for m in measured),
        )
        for key, measured in grouped.items()
    ]
    best = {load.server: load.workers for load in sorted(loads, key=lambda load: load.ratio)}
    return [load for load in loads if load.workers == best[load.server]]


_MEDIANS = ("rate", "ratio", "p50_ms", "p95_ms", "p99_ms")


def saturated(loads: Sequence[Load]) -> list[Load]:
    """Returns each server's load with the best rate."""
    best = {load.server: load for load in sorted(loads, key=lambda load: load.rate)}
    return [best[server] for server in dict.fromkeys(load.server for load in loads)]


def ours_over_best_peer(record: Record) -> tuple[float, str, str]:
    """Returns the median, over rounds, of this service's best rate over the best peer's, and which two those are."""
    loads = sorted(summarise(record), key=lambda load: load.ratio)
    best = {load.server.startswith("azaion"): load for load in loads}
    ours, peer = best[True], best[False]
    ratios = [_best_rate(one, ours) / _best_rate(one, peer) for one in record["rounds"] if _has(one, ours, peer)]
    return statistics.median(ratios), ours.server, peer.server


def _has(one: Record, *loads: Load) -> bool:
    measured = {(server["server"], server["workers"]) for server in one["servers"]}
    return all((load.server, load.workers) in measured for load in loads)


def _best_rate(one: Record, of: Load) -> float:
    [server] = [found for found in one["servers"] if (found["server"], found["workers"]) == (of.server, of.workers)]
    return float(max(load["rate"] for load in server["loads"]))


def table(record: Record, short: bool = False) -> str:
    """Returns Markdown: every load of every server, or only the best of each and its share of the limit."""
    loads, (limit, limit_name) = summarise(record), limit_of(record)
    columns = ["", "workers", "clients", "pictures/s", "p50 ms", "p95 ms", "p99 ms", "errors"]
    if short:
        columns.append(f"of the {limit_name}")
    lines = [columns, ["---"] * len(columns)]
    if short:
        for name, key in (("engine alone", "engine_rate"), ("pipeline in process", "pipeline_rate")):
            rates = [one["in_process"][key] for one in record["rounds"] if key in one["in_process"]]
            if rates:
                rate = statistics.median(rates)
                lines.append([name, "", "", f"{rate:.2f}", "", "", "", "", "1" if key == limit else ""])
    for load in saturated(loads) if short else loads:
        times = [f"{milliseconds:.0f}" for milliseconds in (load.p50_ms, load.p95_ms, load.p99_ms)]
        line = [NAMES[load.server], str(load.workers), str(load.connections), f"{load.rate:.2f}", *times]
        lines.append([*line, str(load.errors), *([f"{load.ratio:.3f}"] if short else [])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def insert(markdown: str, name: str, text: str) -> str:
    """Puts text between `<!-- name -->` and `<!-- end -->`.

    Raises:
        ValueError: Those lines are not there, once.
    """
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)"
    changed, count = re.subn(pattern, lambda match: match[1] + text + "\n" + match[2], markdown, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"expected one '<!-- {name} -->' with '<!-- end -->' behind it, found {count}")
    return changed


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    record = json.loads(options.file.read_text())
    text = table(record, options.short)
    print(text)
    if len({server["server"].startswith("azaion") for one in record["rounds"] for server in one["servers"]}) == 2:
        ratio, ours, peer = ours_over_best_peer(record)
        print(
            f"\n{NAMES[ours]} over {NAMES[peer]}, the best peer, median of {len(record['rounds'])} rounds: {ratio:.3f}"
        )
    if options.plot:
        from benchmarks.records.plot import plot

        plot(record, options.plot)
    if options.into:
        options.into.write_text(insert(options.into.read_text(), options.file.name, text))


if __name__ == "__main__":
    main()
