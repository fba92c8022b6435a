"""Report: makes a table, and a plot, of a record of `benchmarks.peers.compare`.

    python -m benchmarks.records.report FILE [--plot FILE.svg] [--into README.md] [--short]

`--short` keeps only each server's load with the best rate, and adds its ratio to the pipeline in process, on a GPU to
the engine alone. `--into` replaces the table between the lines `<!-- FILE -->` and `<!-- end -->` of a Markdown file,
where FILE is the name of the record's file without its folder.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path

from benchmarks.records.plot import plot
from benchmarks.records.record import NAMES, Record, limit_of, ours_over_best_peer, saturated, summarise


def table(record: Record, short: bool = False) -> str:
    """Returns a Markdown table of every load of every server; if short, of the best load of each, with its ratio."""
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
    """Returns the Markdown with the lines between `<!-- name -->` and `<!-- end -->` replaced by the text.

    Raises:
        ValueError: There is no such pair of lines, or more than one.
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
        plot(record, options.plot)
    if options.into:
        options.into.write_text(insert(options.into.read_text(), options.file.name, text))


if __name__ == "__main__":
    main()
