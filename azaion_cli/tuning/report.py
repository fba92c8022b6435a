"""Report: a tuning as a table for people and as JSON for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from azaion_cli.console import make_table, say, stderr
from azaion_cli.tuning.load import counted
from azaion_cli.tuning.measurement import Choice, Measurement, choose
from azaion_cli.tuning.tuner import Tuner

if TYPE_CHECKING:
    from rich.table import Table


def make_report(tuner: Tuner, *, is_complete: bool) -> dict[str, Any]:
    """Returns everything that was measured, for JSON.

    Args:
        tuner: The tuning.
        is_complete: Whether all candidates were measured.
    """
    choice = choose(tuner.measurements, tuner.latency_ms)
    return {
        "model": tuner.args["model"],
        "host": {"cores": tuner.host.cores, "gpus": tuner.host.gpus, "gpu": tuner.host.gpu},
        "latency_ms": tuner.latency_ms,
        "seconds": tuner.seconds,
        "picture_bytes": len(tuner.picture),
        "lanes": lanes(tuner),
        "engine_alone": tuner.alone,
        "candidates": [one.as_json(tuner.latency_ms) for one in tuner.measurements],
        "chosen": _chosen(choice) if choice else None,
        "complete": is_complete,
    }


def measurement_table(tuner: Tuner) -> Table:
    """Returns a row for each candidate at its best number of clients; the chosen one is marked."""
    replicas = "replicas/GPU" if tuner.grid.on_gpu else "replicas"
    numbers = (replicas, "threads", "batch", "clients", "pictures/s", "p50 ms", "p99 ms")
    table = make_table(*numbers, "", right=numbers)
    choice = choose(tuner.measurements, tuner.latency_ms)
    for one in tuner.measurements:
        table.add_row(*_cells(tuner, one, choice))
    return table


@contextmanager
def live_table(tuner: Tuner) -> Iterator[None]:
    """Shows the tuning as it goes on stderr: a table on a terminal, else a line for each step."""
    if not stderr().is_terminal:
        tuner.tell = say
        yield
        return
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    doing = Text()
    with Live(console=stderr(), transient=True) as live:

        def changed() -> None:
            live.update(Group(measurement_table(tuner), doing))

        def tell(line: str) -> None:
            doing.plain = line
            changed()

        tuner.tell, tuner.changed = tell, changed
        yield


def conclusion(tuner: Tuner, choice: Choice) -> str:
    """Returns one sentence about the choice."""
    level, settings = choice.level, choice.measurement.candidate.args
    words = ", ".join(f"{key}: {value}" for key, value in settings.items())
    told = f"{level.rate:.1f} pictures/s, p99 {level.p99_ms:.1f} ms at {counted(level.clients)}: {words}"
    if choice.keeps_bound:
        return told
    return f"no setting keeps the p99 within {tuner.latency_ms:g} ms; the lowest: {told}"


def lanes(tuner: Tuner) -> int:
    """Returns the batches that one engine has under way; fixed by the engine."""
    if not tuner.grid.on_gpu:
        return 1
    from azaion_engine.engines.tensorrt.run.resources import LANES

    return LANES


def _chosen(choice: Choice) -> dict[str, Any]:
    settings = choice.measurement.candidate.args
    return {"settings": settings, "keeps_bound": choice.keeps_bound, **choice.level.as_json()}


def _cells(tuner: Tuner, one: Measurement, choice: Choice | None) -> list[str]:
    candidate = one.candidate
    level = one.best(tuner.latency_ms)
    every = candidate.replicas * max(1, tuner.host.gpus)
    threads = tuner.args.get("threads") or max(1, tuner.host.cores // every)
    settings = [str(candidate.replicas), str(threads), str(candidate.batch_size or "model's")]
    if level is None:
        return [*settings, "", "", "", "", one.failure or _errors(one) or "…"]
    remarks = [
        "best" if choice and choice.measurement is one else "",
        f"p99 above {tuner.latency_ms:g} ms" if level.p99_ms > tuner.latency_ms else "",
        one.failure,
    ]
    numbers = [str(level.clients), *(_number(value) for value in (level.rate, level.p50_ms, level.p99_ms))]
    return [*settings, *numbers, ", ".join(filter(None, remarks))]


def _errors(one: Measurement) -> str:
    kinds = {kind: count for level in one.levels for kind, count in level.errors.items()}
    return ", ".join(f"{count} × {kind}" for kind, count in kinds.items())


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
