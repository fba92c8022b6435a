"""LoadGenerator: closed-loop clients in processes of their own, and what they measured."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.pool import Pool
from multiprocessing.synchronize import Semaphore
from types import TracebackType
from typing import Any

from azaion_cli.tuning.answers import Answers
from azaion_cli.tuning.client import TIMEOUT_S, Request, Tally, run_clients

MANY_CLIENTS = 32
"""Clients from which on one process is not enough."""
CORES_A_PROCESS = 4
MOST_PROCESSES = 4
LEAD_S = 0.1
"""Time that the processes get to receive their work, seconds."""
READY_S = 60.0


@dataclass(frozen=True)
class Level:
    """What a number of clients measured.

    Attributes:
        clients: Closed-loop clients.
        rate: Right answers per second; one that began before or ended after the window counts for its share in it.
        p50_ms: Median latency of the right answers, milliseconds.
        p95_ms: Their 95th percentile.
        p99_ms: Their 99th percentile; of fewer than 100 answers the longest.
        answers: Right answers that ended in the window or were under way at its end; the percentiles are theirs.
        errors: Failed requests by kind, e.g. `status 503`.
        first_wrong: What was wrong with the first wrong answer; empty without.
    """

    clients: int
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answers: int
    errors: dict[str, int] = field(default_factory=dict)
    first_wrong: str = ""

    def as_json(self) -> dict[str, Any]:
        """Returns the attributes for JSON: no infinity, which JSON lacks, and no empty `first_wrong`."""
        values = {key: None if value == math.inf else value for key, value in asdict(self).items()}
        if not self.first_wrong:
            del values["first_wrong"]
        return values


class LoadGenerator:
    """Processes that wait for load to put; a context manager."""

    def __init__(self, cores: int) -> None:
        """Starts the processes.

        Args:
            cores: Cores of this machine, which the measured service needs too.
        """
        self._cores = cores
        # Not forked: the parent has threads of its own. Workers ignore Ctrl-C, and end with the parent.
        context = multiprocessing.get_context("spawn")
        ready = context.Semaphore(0)
        count = processes_for(MANY_CLIENTS, cores)
        self._pool: Pool = context.Pool(count, _prepare, (ready,))
        for _ in range(count):  # else the first load would begin late in some of them
            ready.acquire(timeout=READY_S)

    def __enter__(self) -> LoadGenerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.terminate()
        self._pool.join()

    def put(self, request: Request, answers: Answers, clients: int, seconds: float) -> Level:
        """Puts load on a server.

        Args:
            request: Request of every client.
            answers: Checks each answer.
            clients: Closed-loop clients.
            seconds: Length of the measurement; a fifth of it before is warm-up.

        Raises:
            TimeoutError: A process does not report, it was killed.
        """
        processes = min(clients, processes_for(clients, self._cores))
        shares = [clients // processes + (index < clients % processes) for index in range(processes)]
        started = time.monotonic() + LEAD_S
        begin, end = started + seconds / 5, started + seconds * 1.2
        work = [(request, answers, share, started, begin, end) for share in shares]
        try:
            tallies = self._pool.starmap_async(_drive, work, chunksize=1).get(1.2 * seconds + TIMEOUT_S + 30)
        except multiprocessing.TimeoutError as error:
            raise TimeoutError("a process of the load generator does not report") from error
        return summarise(tallies, clients, begin, end)


def processes_for(clients: int, cores: int) -> int:
    """Returns the number of processes for as many clients on a machine."""
    return max(2 if clients >= MANY_CLIENTS else 1, min(MOST_PROCESSES, cores // CORES_A_PROCESS))


def summarise(tallies: Sequence[Tally], clients: int, begin: float, end: float) -> Level:
    """Returns rate, percentiles and errors of a window.

    Args:
        tallies: What each process saw.
        clients: Clients of all processes.
        begin: Begin of the window, monotonic seconds.
        end: Its end.
    """
    spans = [span for tally in tallies for span in tally.right]
    shares = [max(0.0, min(end, done) - max(begin, asked)) / (done - asked) for asked, done in spans if done > asked]
    latencies = sorted(1000 * (done - asked) for asked, done in spans if done >= begin)
    errors = sum((tally.errors for tally in tallies), Counter[str]())
    p50, p95, p99 = (round(percentile(latencies, share), 2) for share in (0.5, 0.95, 0.99))
    return Level(
        clients=clients,
        rate=round(sum(shares) / (end - begin), 2),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        answers=len(latencies),
        errors=dict(errors),
        first_wrong=next((tally.first_wrong for tally in tallies if tally.first_wrong), ""),
    )


def counted(clients: int) -> str:
    """Returns a number of clients in words."""
    return f"{clients} client{'s' if clients > 1 else ''}"


def percentile(ascending: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of the values does not exceed; infinity without values."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)] if ascending else math.inf


def _prepare(ready: Semaphore) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready.release()


def _drive(request: Request, answers: Answers, clients: int, started: float, begin: float, end: float) -> Tally:
    """Runs some of the clients in this process."""
    time.sleep(max(0.0, started - time.monotonic()))
    work = run_clients(request, answers, clients, begin, end)
    try:
        import uvloop  # faster; comes with uvicorn[standard], where Ray Serve installs it
    except ImportError:
        return asyncio.run(work)
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
