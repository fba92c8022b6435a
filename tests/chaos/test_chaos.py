"""Chaos, short form: the faults that an operator meets first; `make chaos` runs them all."""

from __future__ import annotations

import signal
import time

import pytest

from tests.chaos import faults
from tests.chaos.clients import Case, Outcome, make_cases
from tests.chaos.rows import Row, bars, stop_under_load, suffer
from tests.chaos.service import chaos_service


@pytest.mark.usefixtures("no_ray")
def test_nothing_is_lost_or_wrong_when_a_replica_or_the_proxy_dies_or_the_service_ends() -> None:
    cases = make_cases("demo")
    with chaos_service(throughput=True) as service:
        rows = [
            suffer(service, cases, "kill a replica", faults.kill_a_replica),
            suffer(service, cases, "kill the proxy", faults.kill_the_proxy),
        ]
        service.wait_until_ready()
        rows.append(stop_under_load(service, cases, signal.SIGTERM))
    table = "\n".join(row.line() for row in rows)
    assert [text for row in rows for text in bars(row)] == [], table
    assert all(row.right > 20 for row in rows), table


def test_a_case_tells_another_pictures_boxes() -> None:
    case = Case(b"", [(1, 10.0, 10.0, 20.0, 20.0), (0, 1.0, 1.0, 2.0, 2.0)])
    assert case.result([(0, 1.0, 1.5, 2.0, 2.0), (1, 10.0, 10.0, 20.0, 20.0)]) == "right"
    assert case.result([(0, 1.0, 1.0, 2.0, 2.0)]) == "wrong"
    assert case.result([(0, 1.0, 1.0, 2.0, 2.0), (2, 10.0, 10.0, 20.0, 20.0)]) == "wrong"
    assert case.result([(0, 1.0, 1.0, 2.0, 2.0), (1, 10.0, 10.0, 20.0, 22.0)]) == "wrong"


def test_a_row_counts_what_is_lost_and_the_seconds_until_well() -> None:
    at = time.monotonic()

    def outcome(begun: float, ended: float, result: str = "right", retries: bool = False) -> Outcome:
        return Outcome(retries, at + begun, at + ended, result)

    outcomes = [
        *(outcome(-1, -0.5), outcome(-0.1, 0.5, "ReadError"), outcome(6, 9, "503"), outcome(8.5, 9.5)),
        *(outcome(9.25, 10), outcome(9.5, 11), outcome(0, 12, "wrong", retries=True)),
        outcome(0, 12, "UnreachableError: gone", retries=True),
    ]
    row = Row("kill the proxy", outcomes, at)
    assert (row.right, row.wrong, row.lost) == (4, 1, ["UnreachableError: gone"])
    assert row.seconds_until_well == pytest.approx(10)
    assert len(bars(row)) == 3
    calm = Row("kill the proxy", [outcome(0, 0.5), outcome(0.25, 2, retries=True)], at, end=(0, []))
    assert calm.seconds_until_well == pytest.approx(1.5)
    assert bars(calm) == []
    refused = [outcome(0, 0.5, "503"), outcome(0.5, 1)]
    [missed] = bars(Row("kill the GCS, again after 10 s", refused, at))
    assert "answer without it" in missed
    assert bars(Row("kill a replica", refused, at)) == []
    late = [outcome(0, 59, "503"), outcome(59, 61), outcome(0, 31, "UnavailableError: 503", retries=True)]
    [missed] = bars(Row("kill the head, again after 10 s", late, at))
    assert "61.0 s until well" in missed
    assert len(bars(Row("SIGTERM", outcomes[:2], at, end=(134, ["haproxy"])))) == 3
