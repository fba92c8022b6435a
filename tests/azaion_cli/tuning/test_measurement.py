from __future__ import annotations

import math

import pytest

from azaion_cli.tuning.candidates import Candidate, Grid
from azaion_cli.tuning.load import Level
from azaion_cli.tuning.measurement import Measurement, WrongAnswerError, choose, raise_load, search


def level(clients=1, rate=10.0, p99=50.0, errors=None, wrong=""):
    return Level(clients, rate, p99, p99, p99, answers=9, errors=errors or {}, first_wrong=wrong)


def measured(*levels, replicas=1, size=1, failure=""):
    return Measurement(Candidate(replicas, size, on_gpu=False), list(levels), failure)


def test_the_highest_rate_within_the_bound_wins():
    slow = measured(level(1, 10, 40), level(2, 12, 90))
    quick = measured(level(1, 5, 20), level(2, 30, 80), level(4, 50, 101), replicas=2)
    choice = choose([slow, measured(failure="out of memory"), quick], 100)
    assert (choice.measurement, choice.level.clients, choice.keeps_bound) == (quick, 2, True)


def test_if_none_keeps_the_bound_the_lowest_p99_wins():
    choice = choose([measured(level(1, 99, 400)), measured(level(1, 10, 300), level(2, 20, 600))], 100)
    assert (choice.level.p99_ms, choice.keeps_bound) == (300, False)


def test_levels_with_errors_do_not_count():
    assert choose([measured(level(errors={"status 503": 1})), measured(failure="no")], 100) is None
    assert choose([], 100) is None


def rising(levels, latency=100.0, until=math.inf):
    done = []
    raise_load(lambda clients: levels[clients], latency, until, done.append)
    return [one.clients for one in done]


def test_clients_double_until_the_rate_grows_by_less_than_3_percent():
    rates = {1: 10, 2: 20, 4: 39, 8: 40, 16: 99}
    assert rising({clients: level(clients, rate) for clients, rate in rates.items()}) == [1, 2, 4, 8]


def test_clients_double_until_the_p99_passes_the_bound_and_halfway_back():
    levels = {clients: level(clients, 10 * clients, 15 * clients) for clients in (1, 2, 4, 6, 8, 16)}
    assert rising(levels) == [1, 2, 4, 8, 6]


def test_errors_and_the_end_of_time_end_the_load():
    assert rising({1: level(1), 2: level(2, 20, errors={"status 503": 1})}) == [1, 2]
    assert rising({}, until=0.0) == []


def test_a_wrong_answer_ends_everything():
    done = []
    with pytest.raises(WrongAnswerError, match=r"1 client.*box lost"):
        raise_load(lambda clients: level(clients, wrong="box lost"), 100, math.inf, done.append)
    assert len(done) == 1


def test_replicas_are_searched_with_the_first_size_and_other_sizes_with_the_best_replicas():
    rates = {(1, 8): 10, (4, 8): 30, (8, 8): 20, (4, 4): 5}
    tried = []

    def measure(candidate):
        key = candidate.replicas, candidate.batch_size
        tried.append(key)
        return measured(level(rate=rates[key]), replicas=candidate.replicas, size=candidate.batch_size)

    assert len(search(Grid((1, 4, 8), (4, 8), True), [8, 4], measure, 100)) == 4
    assert tried == [(1, 8), (4, 8), (8, 8), (4, 4)]


def test_a_failed_candidate_does_not_end_the_search():
    done = search(Grid((1, 2), (1, 4), False), [4, 1], lambda candidate: measured(failure="no memory"), 100)
    assert [one.failure for one in done] == ["no memory"] * 3
