"""Plot: latency over throughput of every server, one point per load."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.records.record import NAMES, Record, limit_of, summarise


def plot(record: Record, file: Path) -> None:
    """Draws one line per server, from its lightest to its heaviest load.

    Args:
        record: Record of `benchmarks.peers.compare`.
        file: File to write; its suffix selects the format.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    loads = summarise(record)
    limit, limit_name = limit_of(record)
    most = statistics.median(one["in_process"][limit] for one in record["rounds"])
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for server in dict.fromkeys(load.server for load in loads):
        own = [load for load in loads if load.server == server]
        label = f"{NAMES[server]}, {own[0].workers} worker{'s' * (own[0].workers > 1)}"
        thick = 2.5 if server.startswith("azaion") else 1.2
        axes.plot([load.rate for load in own], [load.p95_ms for load in own], "o-", label=label, linewidth=thick)
    axes.axvline(most, color="grey", linestyle="--", linewidth=1, label=limit_name)
    axes.set_xlabel("right answers per second")
    axes.set_ylabel("p95 latency, ms")
    axes.set_ylim(bottom=0)
    machine = record["machine"]
    where = (machine["gpu"] or f"{machine['cores']} cores of {machine['cpu']}").splitlines()[0]
    clients = ", ".join(str(count) for count in dict.fromkeys(load.connections for load in loads))
    axes.set_title(f"{where}, {record['rounds'][0]['in_process']['engine']}; {clients} clients", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    with rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none"}):  # the same record gives the same file
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
