from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from azaion_engine.engines.base import Found
from azaion_engine.engines.shared import gatherer as gatherer_module
from azaion_engine.engines.shared.gatherer import Gatherer
from azaion_engine.errors import EngineClosedError, GpuLostError, UndecodablePictureError
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture, LoadablePicture
from tests.stand_in import StandInEngine

BROKEN, BAD, LOST = 250, 251, 252


class Engine(StandInEngine):
    """Answers each picture with its length, records its batches, and runs only while the gate is open."""

    def __init__(self, lanes: int = 1) -> None:
        super().__init__(batch_size=4)
        self._lanes = lanes
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[int]] = []

    @property
    def lanes(self) -> int:
        return self._lanes

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> list[Found]:
        lengths = [len(picture.jpeg) for picture in pictures if isinstance(picture, JpegPicture)]
        self.batches.append(lengths)
        assert self.gate.wait(10)
        if BAD in lengths:
            raise RuntimeError("a bad batch")
        if LOST in lengths:
            raise GpuLostError("lost")
        broken = UndecodablePictureError("broken")
        return [broken if length == BROKEN else np.full((1, 6), length, np.float32) for length in lengths]


def pictures(*lengths: int) -> list[LoadablePicture]:
    return [JpegPicture(Letterbox.fit(32, 32, 32, 32), bytes(length)) for length in lengths]


def lengths_of(found: Sequence[Found]) -> list[int]:
    return [BROKEN if isinstance(rows, Exception) else int(rows[0, 0]) for rows in found]


def run(gatherer: Gatherer, some: list[LoadablePicture]) -> list[Found]:
    """Waits for what `submit` calls back with."""
    answer: Future[list[Found] | Exception] = Future()
    gatherer.submit(some, answer.set_result)
    found = answer.result(10)
    if isinstance(found, Exception):
        raise found
    return found


def until(condition: object) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.005)


@contextmanager
def busy(engine: Engine, gatherer: Gatherer) -> Iterator[tuple[ThreadPoolExecutor, Future[list[Found]]]]:
    """Yields threads for clients, and a first picture that runs until the engine's gate is opened."""
    engine.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(run, gatherer, pictures(1))
        until(lambda: engine.batches)
        yield pool, first


def test_more_pictures_than_a_batch_come_back_in_their_order() -> None:
    engine = Engine(lanes=2)
    gatherer = Gatherer(engine)
    assert lengths_of(run(gatherer, pictures(*range(1, 12)))) == list(range(1, 12))
    assert run(gatherer, []) == []
    assert all(len(batch) <= 4 for batch in engine.batches)
    gatherer.close()


def test_while_a_batch_runs_pictures_collect_and_another_begins_only_when_it_is_full() -> None:
    engine = Engine(lanes=2)
    gatherer = Gatherer(engine)
    with busy(engine, gatherer) as (pool, first):
        second = pool.submit(run, gatherer, pictures(2, 3))
        time.sleep(0.05)
        assert engine.batches == [[1]]
        third = pool.submit(run, gatherer, pictures(4, 5, 6))
        until(lambda: len(engine.batches) == 2)
        assert engine.batches == [[1], [2, 3, 4, 5]]
        engine.gate.set()
        assert [lengths_of(request.result()) for request in (first, second, third)] == [[1], [2, 3], [4, 5, 6]]
    assert engine.batches[2:] == [[6]]
    gatherer.close()


def test_a_batch_that_is_not_full_begins_before_the_one_that_runs_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer_module, "FIRST_S", 0.6)
    engine = Engine(lanes=2)
    gatherer = Gatherer(engine)
    with busy(engine, gatherer) as (pool, first):
        began = time.monotonic()
        second = pool.submit(run, gatherer, pictures(2))
        until(lambda: len(engine.batches) == 2)
        assert time.monotonic() - began > 0.1
        third = pool.submit(run, gatherer, pictures(3))  # both lanes are busy
        time.sleep(0.05)
        assert engine.batches == [[1], [2]]
        engine.gate.set()
        assert [lengths_of(request.result()) for request in (first, second, third)] == [[1], [2], [3]]
    gatherer.close()


def test_while_two_batches_run_a_third_begins_only_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherer_module, "FIRST_S", 0.05)
    engine = Engine(lanes=3)
    gatherer = Gatherer(engine)
    with busy(engine, gatherer) as (pool, first):
        second = pool.submit(run, gatherer, pictures(2))
        until(lambda: len(engine.batches) == 2)
        third = pool.submit(run, gatherer, pictures(3))
        worked = time.process_time()
        time.sleep(0.3)
        assert engine.batches == [[1], [2]]
        assert time.process_time() - worked < 0.1  # waits, and does not look again and again
        fourth = pool.submit(run, gatherer, pictures(4, 5, 6, 7))
        until(lambda: len(engine.batches) == 3)
        assert engine.batches[2] == [3, 4, 5, 6]
        engine.gate.set()
        found = [lengths_of(request.result()) for request in (first, second, third, fourth)]
        assert found == [[1], [2], [3], [4, 5, 6, 7]]
    gatherer.close()


def test_a_batch_that_fails_costs_only_the_picture_that_it_was_for() -> None:
    engine = Engine()
    gatherer = Gatherer(engine)
    with busy(engine, gatherer) as (pool, first):
        bad = pool.submit(run, gatherer, pictures(BAD, 2))
        good = pool.submit(run, gatherer, pictures(3, BROKEN))
        time.sleep(0.05)
        engine.gate.set()
        assert lengths_of(first.result()) == [1]
        assert lengths_of(good.result()) == [3, BROKEN]
        error, rows = bad.result()
        assert (type(error), str(error)) == (RuntimeError, "a bad batch")
        assert lengths_of([rows]) == [2]
    assert lengths_of(run(gatherer, pictures(5))) == [5]
    gatherer.close()


def test_a_lost_gpu_is_everybodys_trouble() -> None:
    engine = Engine()
    gatherer = Gatherer(engine)
    with busy(engine, gatherer) as (pool, first):
        with_it = pool.submit(run, gatherer, pictures(LOST, 2))
        beside_it = pool.submit(run, gatherer, pictures(3))
        time.sleep(0.05)
        engine.gate.set()
        assert lengths_of(first.result()) == [1]
        for other in (with_it, beside_it):
            with pytest.raises(GpuLostError):
                other.result()
    gatherer.close()


def test_a_closed_gatherer_runs_what_it_has_and_takes_no_more() -> None:
    engine = Engine()
    gatherer = Gatherer(engine)
    assert lengths_of(run(gatherer, pictures(1))) == [1]
    gatherer.close()
    with pytest.raises(EngineClosedError):
        run(gatherer, pictures(2))
