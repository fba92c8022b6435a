from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from deployments.batching.engine_threads import EngineThreads


class Engine:
    """Stands for an engine: its batches are numbers, and each one runs until it is let go."""

    def __init__(self, lanes: int) -> None:
        self.ready: list[int] = []
        self.began: list[int] = []
        self.threads: dict[int, int] = {}
        self._changed = threading.Condition()
        self._let_go: set[int] = set()
        self.lanes = EngineThreads(lanes, self._prepare, self._run)

    def submit(self, batch: int) -> Future[int | Exception]:
        outcome: Future[int | Exception] = Future()
        self.lanes.submit(batch, outcome.set_result)
        return outcome

    def let_go(self, batch: int) -> None:
        with self._changed:
            self._let_go.add(batch)
            self._changed.notify_all()

    def wait_until_ready(self, *batches: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: sorted(self.ready) == sorted(batches), 10)

    def wait_until_began(self, *batches: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: sorted(self.began) == sorted(batches), 10)

    def _prepare(self, batch: int) -> None:
        with self._changed:
            self.ready.append(batch)
            self._changed.notify_all()

    def _run(self, batch: int) -> int:
        with self._changed:
            self.began.append(batch)
            self.threads[batch] = threading.get_ident()
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: batch in self._let_go, 10)
        return -batch


@pytest.fixture(params=[1, 2])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = Engine(request.param)
    yield engine
    for batch in range(10):
        engine.let_go(batch)
    engine.lanes.close()


def fill(engine: Engine) -> list[int]:
    """Starts as many batches as the engine has lanes."""
    running = [1, 2] if engine.lanes._free == 2 else [1]
    for batch in running:
        engine.submit(batch)
    engine.wait_until_began(*running)
    return running


def test_a_batch_is_made_ready_while_others_run_and_begins_when_one_ends(engine: Engine) -> None:
    running = fill(engine)
    waits = engine.submit(5)
    engine.wait_until_ready(*running, 5)
    engine.wait_until_began(*running)
    engine.let_go(1)
    engine.wait_until_began(*running, 5)
    engine.let_go(5)
    assert waits.result(10) == -5


def test_the_thread_that_ends_a_batch_begins_the_next(engine: Engine) -> None:
    running = fill(engine)
    engine.submit(5)
    engine.lanes.call(lambda: None)  # returns after a thread has prepared the batch and queued it
    engine.let_go(1)
    engine.wait_until_began(*running, 5)
    assert engine.threads[5] == engine.threads[1]


def test_an_answer_does_not_wait_for_the_batch_after_it(engine: Engine) -> None:
    first = engine.submit(1)
    running = [2] if engine.lanes._free else []
    for batch in running:
        engine.submit(batch)
    waits = engine.submit(5)
    engine.wait_until_ready(1, *running, 5)
    engine.let_go(1)
    assert first.result(10) == -1
    assert not waits.done()


def test_a_batch_that_fails_is_told_so_and_the_next_one_runs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in ("_prepare", "_run"):
        with monkeypatch.context() as patch:
            patch.setattr(engine.lanes, step, lambda batch: [][batch])
            assert isinstance(engine.submit(1).result(10), IndexError)
    assert engine.lanes.idle
    engine.let_go(2)
    assert engine.submit(2).result(10) == -2


def test_it_is_idle_while_no_batch_runs(engine: Engine) -> None:
    assert engine.lanes.idle
    answer = engine.submit(1)
    engine.wait_until_began(1)
    assert not engine.lanes.idle
    engine.let_go(1)
    answer.result(10)
    assert engine.lanes.idle


def test_an_idle_engine_begins_at_once_again_and_again(engine: Engine) -> None:
    for batch in (1, 2, 3):
        engine.let_go(batch)
        assert engine.submit(batch).result(10) == -batch


def test_closing_waits_for_what_was_submitted(engine: Engine) -> None:
    running = fill(engine)
    waits = engine.submit(5)
    for batch in (*running, 5):
        engine.let_go(batch)
    engine.lanes.close()
    assert waits.result(0) == -5
