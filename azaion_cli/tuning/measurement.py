"""Measurement: one candidate's service under rising load, and which candidate is the best."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from azaion_cli.tuning.candidates import WORTHWHILE, Candidate, Grid
from azaion_cli.tuning.load import Level
from azaion_engine.errors import AzaionError

MOST_CLIENTS = 1024


class WrongAnswerError(AzaionError):
    """A service under load answered other boxes than to its first request."""

    code = "wrong_answer"


@dataclass
class Measurement:
    """What one candidate did.

    Attributes:
        candidate: The settings.
        levels: One for each number of clients, in the order measured.
        failure: Why it could not be measured; empty if it was.
    """

    candidate: Candidate
    levels: list[Level] = field(default_factory=list)
    failure: str = ""

    def best(self, latency_ms: float) -> Level | None:
        """Returns the level with the highest rate whose p99 keeps the bound, else that with the lowest p99.

        Levels with errors do not count, unless there is no other answer: None without any.
        """
        clean = [level for level in self.levels if not level.errors and level.answers]
        kept = [level for level in clean if level.p99_ms <= latency_ms]
        if kept:
            return max(kept, key=lambda level: level.rate)
        return min(clean, key=lambda level: level.p99_ms, default=None)

    def as_json(self, latency_ms: float) -> dict[str, Any]:
        """Returns settings, levels and failure for JSON."""
        best = self.best(latency_ms)
        return {
            "settings": self.candidate.args,
            "levels": [level.as_json() for level in self.levels],
            "best_clients": best.clients if best else None,
            "failure": self.failure or None,
        }


@dataclass(frozen=True)
class Choice:
    """The best of all candidates.

    Attributes:
        measurement: The candidate's measurement.
        level: Its best level.
        keeps_bound: Whether the level's p99 is within the bound.
    """

    measurement: Measurement
    level: Level
    keeps_bound: bool


def choose(measurements: Sequence[Measurement], latency_ms: float) -> Choice | None:
    """Returns the candidate with the highest rate within the bound; if none keeps it, that with the lowest p99.

    Args:
        measurements: What was measured.
        latency_ms: Bound of the p99, milliseconds.

    Returns:
        None if no candidate answered without errors.
    """
    found = [(one, level) for one in measurements if (level := one.best(latency_ms))]
    kept = [(one, level) for one, level in found if level.p99_ms <= latency_ms]
    if kept:
        return Choice(*max(kept, key=lambda pair: pair[1].rate), keeps_bound=True)
    if found:
        return Choice(*min(found, key=lambda pair: pair[1].p99_ms), keeps_bound=False)
    return None


def raise_load(put: Callable[[int], Level], latency_ms: float, until: float, measured: Callable[[Level], None]) -> None:
    """Doubles the clients from 1 until the rate no longer grows by 3 %, the p99 passes the bound or requests fail.

    If the p99 passed the bound, the number of clients halfway back to the last that kept it is measured too.

    Args:
        put: Puts the load of a number of clients.
        latency_ms: Bound of the p99, milliseconds.
        until: No load begins after this, monotonic seconds.
        measured: Receives each level.

    Raises:
        WrongAnswerError: An answer was wrong.
    """

    def level_of(clients: int) -> Level:
        level = put(clients)
        measured(level)
        if level.first_wrong:
            raise WrongAnswerError(f"wrong answer under load of {clients} clients: {level.first_wrong}")
        return level

    clients, highest = 1, 0.0
    while clients <= MOST_CLIENTS and time.monotonic() < until:
        level = level_of(clients)
        if level.p99_ms > latency_ms and clients > 2 and not level.errors and time.monotonic() < until:
            level_of(clients * 3 // 4)
        if level.errors or level.p99_ms > latency_ms or level.rate < WORTHWHILE * highest:
            return
        clients, highest = 2 * clients, max(highest, level.rate)


def search(
    grid: Grid, sizes: Sequence[int | None], measure: Callable[[Candidate], Measurement], latency_ms: float
) -> list[Measurement]:
    """Measures the replicas with the first batch size, then the other sizes with the best replicas.

    Args:
        grid: What may be tried.
        sizes: Batch sizes, the most promising first.
        measure: Measures one candidate.
        latency_ms: Bound of the p99, milliseconds.
    """
    done = [measure(Candidate(replicas, sizes[0], grid.on_gpu)) for replicas in grid.replicas]
    for size in sizes[1:]:
        best = choose(done, latency_ms)
        replicas = best.measurement.candidate.replicas if best else grid.replicas[0]
        done.append(measure(Candidate(replicas, size, grid.on_gpu)))
    return done
