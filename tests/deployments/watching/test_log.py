"""Log: the limit on lines per second, and their text."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from deployments.watching import log as request_log
from deployments.watching.log import ANSWERS_PER_SECOND, NOTABLE_PER_SECOND, RequestLog
from deployments.watching.record import RequestRecord
from deployments.watching.stage_times import StageTimes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(request_log, "time", SimpleNamespace(monotonic=lambda: clock.now, perf_counter=lambda: 5.0))
    replica = SimpleNamespace(app_name="app", deployment="D", replica_id=SimpleNamespace(unique_id="abc"))
    monkeypatch.setattr(request_log.serve, "get_replica_context", lambda: replica)
    return clock


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign]
    request_log.logger.addHandler(handler)
    level = request_log.logger.level
    request_log.logger.setLevel(logging.INFO)
    yield kept
    request_log.logger.setLevel(level)
    request_log.logger.removeHandler(handler)


def over(status: int, route: str = "/detect", outcome: str = "ok") -> RequestRecord:
    return RequestRecord("id-1", "POST", route, status, outcome, started=4.75)


def test_a_person_can_read_the_line(clock, lines):
    record = over(200)
    record.answered(StageTimes(3.14, 0.5, 20.0, 25.0, received=4.965, batch_started=4.9686))
    record.responded = 5.0
    RequestLog().write(record)
    assert lines[0].getMessage() == ("POST /detect 200 ok 250.0 ms (decode 3.1 queue 0.5 engine 20.0 encode 11.4)")


def test_a_line_has_the_name_of_its_key_if_there_is_one(clock, lines):
    log = RequestLog()
    keyed = over(200)
    keyed.key = "lab"
    log.write(keyed)
    log.write(over(200))
    assert [getattr(line, "key", None) for line in lines] == ["lab", None]


def test_a_flood_is_bounded_and_the_next_line_says_how_much_was_left_out(clock, lines):
    log = RequestLog()
    for _ in range(ANSWERS_PER_SECOND + 30):
        log.write(over(200))
    assert len(lines) == ANSWERS_PER_SECOND
    clock.now += 1
    log.write(over(200))
    log.write(over(200))
    assert [getattr(line, "left_out", None) for line in lines[-2:]] == [30, None]


def test_a_flood_of_answers_hides_no_failure_and_no_slow_answer(clock, lines):
    log = RequestLog()
    for _ in range(ANSWERS_PER_SECOND + 30):
        log.write(over(200))
    slow = over(200)
    slow.started = 3.9
    log.write(slow)
    log.write(over(503, outcome="overloaded"))
    assert [(line.levelname, line.duration_ms) for line in lines[-2:]] == [  # type: ignore[attr-defined]
        ("INFO", 1100.0),
        ("WARNING", 250.0),
    ]


def test_a_flood_of_failures_is_bounded_too(clock, lines):
    log = RequestLog()
    for _ in range(NOTABLE_PER_SECOND + 5):
        log.write(over(503, outcome="overloaded"))
    assert len(lines) == NOTABLE_PER_SECOND


def test_a_probe_is_told_only_when_it_fails(clock, lines):
    log = RequestLog()
    log.write(over(200, "/readyz"))
    log.write(over(503, "/readyz", "gpu_lost"))
    assert [line.status for line in lines] == [503]  # type: ignore[attr-defined]
