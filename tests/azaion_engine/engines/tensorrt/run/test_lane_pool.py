"""LanePool: one thread per lane at a time, and no thread waits for ever."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from azaion_engine.engines.tensorrt.run.lane_pool import LanePool, LanePoolClosed


@pytest.fixture
def pool() -> LanePool:
    lanes: Any = ["first", "second"]
    return LanePool(lanes)


def test_each_lane_is_in_one_pair_of_hands(pool: LanePool) -> None:
    with pool.take() as one, pool.take(most=2) as other, pool.take(least=0) as none:
        assert (one, other, none) == (["first"], ["second"], [])
    with pool.take(most=5) as both:
        assert both == ["first", "second"]


def test_a_thread_waits_for_a_lane_and_gets_it(pool: LanePool) -> None:
    got: list[Any] = []

    def want() -> None:
        with pool.take() as lanes:
            got.extend(lanes)

    with pool.take(most=2):
        thread = threading.Thread(target=want)
        thread.start()
        thread.join(0.05)
        assert not got
        assert pool.longest_s() >= 0.05
    thread.join(10)
    assert len(got) == 1
    assert pool.longest_s() == 0


def test_who_wants_every_lane_waits_for_those_that_are_away(pool: LanePool) -> None:
    got: list[Any] = []

    def want() -> None:
        with pool.take(most=2, least=2) as lanes:
            got.extend(lanes)

    thread = threading.Thread(target=want)
    with pool.take():
        thread.start()
        thread.join(0.05)
        assert not got
    thread.join(10)
    assert sorted(got) == ["first", "second"]


def test_closing_wakes_who_waits_and_waits_for_who_works(pool: LanePool) -> None:
    refused: list[bool] = []
    entered, leaves = threading.Event(), threading.Event()

    def work() -> None:
        with pool.take(most=2):
            entered.set()
            leaves.wait(10)

    def want() -> None:
        try:
            with pool.take():
                pass
        except LanePoolClosed:
            refused.append(True)

    threads = [threading.Thread(target=work), threading.Thread(target=want)]
    threads[0].start()
    entered.wait(10)
    threads[1].start()
    assert not pool.close(0.0)
    leaves.set()
    assert pool.close(10)
    for thread in threads:
        thread.join(10)
    assert refused == [True]
    with pytest.raises(LanePoolClosed), pool.take():
        pass


def test_a_failure_gives_the_lane_back(pool: LanePool) -> None:
    with pytest.raises(ValueError, match="lane"), pool.take(most=2):
        raise ValueError("on the lane")
    with pool.take(most=2) as both:
        assert len(both) == 2
