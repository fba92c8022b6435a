"""Pipeline of a worker: full batches across calls, everyone's own results in order, and who gets an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from azaion_batch.stages.worker_pipeline import WorkerPipeline
from azaion_engine.errors import EngineClosedError, ExecutionError, PictureError
from azaion_engine.pipeline import run_pipeline

BATCH = 4
FAILS, STOPS = -1, -2
"""Numbers of pictures on which the network fails, and on which the engine closes."""


class Network:
    """Answers each number with its square, and keeps the sizes of batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def each(self, loads: Iterator[Callable[[], int]]) -> Iterator[Any]:
        return run_pipeline(loads, lambda load: load(), self.run, batch=BATCH, lanes=2, threads=3)

    def run(self, numbers: Sequence[int]) -> list[int]:
        self.free.wait(10)
        self.sizes.append(len(numbers))
        if FAILS in numbers:
            raise ExecutionError("out of memory")
        if STOPS in numbers:
            raise EngineClosedError("closed")
        return [number * number for number in numbers]


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def pipeline(network: Network) -> WorkerPipeline:
    return WorkerPipeline(network.each)


def loads_of(*numbers: int) -> list[Callable[[], int]]:
    return [partial(int, number) for number in numbers]


def broken() -> int:
    raise PictureError("no picture")


def at_once(pipeline: WorkerPipeline, network: Network, calls: Sequence[Sequence[int]]) -> list[Any]:
    """Returns what each call returned or raised; the network begins when all are there."""
    network.free.clear()
    with ThreadPoolExecutor(len(calls)) as threads:
        asked = []
        for numbers in calls:  # in this order
            asked.append(threads.submit(pipeline.detect, loads_of(*numbers)))
            time.sleep(0.002)
        network.free.set()
        return [one.exception(10) or one.result() for one in asked]


def test_batches_are_full_across_calls(pipeline: WorkerPipeline, network: Network) -> None:
    calls = [range(first, first + 7) for first in range(0, 56, 7)]
    assert at_once(pipeline, network, calls) == [[number * number for number in numbers] for numbers in calls]
    assert network.sizes == [BATCH] * 14


def test_a_call_ends_before_the_pictures_of_later_ones_are_asked_for(pipeline: WorkerPipeline) -> None:
    first_is_answered = threading.Event()

    def last() -> int:
        return 1 if first_is_answered.wait(10) else 0

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pipeline.detect, loads_of(*range(20)))
        second = threads.submit(pipeline.detect, [*loads_of(*[1] * 80), last])
        assert first.result(10) == [number * number for number in range(20)]
        first_is_answered.set()
        assert second.result(10) == [1] * 81


def test_the_last_batch_runs_when_no_more_calls_come_and_the_next_call_begins_anew(
    pipeline: WorkerPipeline, network: Network
) -> None:
    for _ in range(3):
        assert pipeline.detect(loads_of(1, 2, 3, 4, 5, 6)) == [1, 4, 9, 16, 25, 36]
    assert network.sizes == [4, 2] * 3


def test_a_call_without_pictures_needs_no_network(pipeline: WorkerPipeline, network: Network) -> None:
    assert pipeline.detect([]) == []
    assert network.sizes == []


def test_many_short_calls_get_their_own_results(pipeline: WorkerPipeline) -> None:
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(pipeline.detect, loads_of(*range(first, first + first % 5))) for first in range(400)]
        for first, one in enumerate(asked):
            assert one.result(20) == [number * number for number in range(first, first + first % 5)]


def test_a_bad_picture_is_its_own_result(pipeline: WorkerPipeline) -> None:
    two, bad, three = pipeline.detect([*loads_of(2), broken, *loads_of(3)])
    assert (two, str(bad), three) == (4, "no picture", 9)


def test_after_a_batch_that_failed_only_the_picture_at_fault_has_no_boxes(
    pipeline: WorkerPipeline, network: Network
) -> None:
    calls = [[1, 2, 3], [4, FAILS, 5], [6, 7, 8, 9], list(range(40))]
    one, other, third, long = at_once(pipeline, network, calls)
    assert one == [1, 4, 9]
    assert (other[0], str(other[1]), other[2]) == (16, "out of memory", 25)
    assert third == [36, 49, 64, 81]
    assert long == [number * number for number in range(40)]
    assert network.sizes.count(BATCH) > 4  # what was not in the pipeline then still runs in batches


def test_an_error_of_no_picture_reaches_every_call_that_waits(pipeline: WorkerPipeline, network: Network) -> None:
    calls = [[1, 2, 3], [4, STOPS, 5], list(range(100)), [6]]
    raised = at_once(pipeline, network, calls)
    assert [type(one) for one in raised[1:]] == [EngineClosedError] * 3
    assert pipeline.detect(loads_of(1, 2)) == [1, 4]  # nothing of these calls is left


@pytest.mark.parametrize("error", [ExecutionError("no picture was asked for"), ZeroDivisionError(), SystemExit(3)])
def test_an_error_before_any_picture_reaches_the_call(error: BaseException) -> None:
    def each(loads: Iterator[Any]) -> Iterator[Any]:
        raise error

    with pytest.raises(type(error)):
        WorkerPipeline(each).detect(loads_of(1))
