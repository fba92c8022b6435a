from __future__ import annotations

import pickle

import pytest

from azaion_client.results import Timing
from deployments.watching.stage_times import StageTimes

TIMES = StageTimes(decode=3.0, queue=4.0, engine=20.0, total=28.5, received=100.0, batch_started=100.0075)


def test_a_batch_ends_after_its_milliseconds_in_the_engine() -> None:
    assert TIMES.batch_ended == pytest.approx(100.0275)
    assert TIMES._replace(engine=0.0).batch_ended == TIMES.batch_started


def test_pictures_of_one_batch_that_arrived_apart_end_together() -> None:
    later = TIMES._replace(decode=0.0, queue=1.0, total=22.0, received=100.0065)
    assert later.batch_ended == TIMES.batch_ended


def test_answers_carry_the_durations_and_no_moment() -> None:
    assert TIMES.milliseconds() == {"decode": 3.0, "queue": 4.0, "engine": 20.0, "total": 28.5}


def test_a_client_reads_the_durations_by_the_same_names() -> None:
    assert Timing(**TIMES.milliseconds()) == Timing(decode=3.0, queue=4.0, engine=20.0, total=28.5)


def test_times_survive_a_process_boundary() -> None:
    again = pickle.loads(pickle.dumps(TIMES))
    assert again == TIMES
    assert again.batch_ended == TIMES.batch_ended
