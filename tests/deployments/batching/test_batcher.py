"""Batcher: how an engine's thread runs a batch; `test_deployment.py` tests batching through Serve."""

from __future__ import annotations

import asyncio
import gc
import io
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.errors import EngineClosedError, InvalidTensorError, PictureError, UnsupportedPictureError
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import ArrayPicture
from azaion_engine.pictures.preparing import DecodePlace
from deployments.batching.batch import Batch
from deployments.batching.batcher import Batcher
from deployments.batching.job import Job
from tests.stand_in import POISON, StandInEngine, grey_picture


@pytest.fixture
def batcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Batcher]:
    replica = SimpleNamespace(_deployment_config=SimpleNamespace(max_ongoing_requests=100))
    monkeypatch.setattr(serve, "get_replica_context", lambda: replica)  # for @serve.batch
    with Detector(StandInEngine(batch_size=4, seconds=0)) as detector:
        batcher = Batcher(detector, max_queue=16, timeout_s=10, decode_threads=1)
        batcher.ran = []
        batcher.on_batch = batcher.ran.append
        yield batcher
        batcher.close()


def job(picture: bytes, **options: Any) -> Job:
    return Job(EncodedPicture(picture), **options)


def cut_off_jpeg() -> bytes:
    """Encodes a small JPEG with a plain header and without its end."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[:-30]


def begin(batcher: Batcher, jobs: list[Job]) -> Future[Any]:
    """Submits the jobs as the event loop submits a batch of `@serve.batch`."""
    outcome: Future[Any] = Future()
    batcher._threads.submit(Batch(jobs, batcher._detector, batcher.on_batch), outcome.set_result)
    return outcome


def infer(batcher: Batcher, jobs: list[Job]) -> list[Any]:
    """Submits the jobs as `begin` does, and waits for the results."""
    return begin(batcher, jobs).result(10)


def classes(results: list[object]) -> list[object]:
    """Returns for each picture the class found, which is its grey value, or its error's type."""
    return [int(result[0, 5]) if isinstance(result, np.ndarray) else type(result) for result in results]


def test_a_picture_that_cannot_be_decoded_fails_alone(batcher):
    jobs = [job(grey_picture(1)), job(b"GIF89a"), job(grey_picture(3))]
    assert classes(infer(batcher, jobs)) == [1, UnsupportedPictureError, 3]
    assert batcher.ran == [2]
    assert jobs[0].started == jobs[2].started > 0


def test_each_picture_gets_boxes_above_its_own_confidence(batcher):
    jobs = [job(grey_picture(1)), job(grey_picture(2), confidence=1.0), job(b"GIF89a"), job(grey_picture(3))]
    infer(batcher, jobs)
    assert [None if one.detections is None else one.detections.class_ids.tolist() for one in jobs] == [
        [1],
        [],
        None,
        [3],
    ]


def test_a_picture_that_the_engine_chokes_on_fails_alone(batcher):
    assert classes(infer(batcher, [job(grey_picture(1)), job(grey_picture(POISON))])) == [1, RuntimeError]
    assert batcher.ran == [2]


def test_pictures_that_memory_does_not_hold_together_run_alone(batcher, monkeypatch):
    stack = np.stack

    def short_of_memory(arrays: list[Any]) -> Any:
        if len(arrays) > 1 and arrays[0].ndim == 3:  # pictures, not rows
            raise MemoryError
        return stack(arrays)

    monkeypatch.setattr(np, "stack", short_of_memory)
    assert classes(infer(batcher, [job(grey_picture(1)), job(grey_picture(2))])) == [1, 2]


def test_a_row_that_does_not_fit_its_neighbours_fails_alone(batcher):
    rows = [ArrayPicture(Letterbox.fit(n, n, n, n), np.zeros((3, n, n), np.float32)) for n in (32, 8)]
    jobs = [*(Job(picture=row) for row in rows), job(grey_picture(3))]
    assert classes(infer(batcher, jobs)) == [0, InvalidTensorError, 3]


def test_who_gave_up_before_the_batch_is_not_run(batcher):
    jobs = [job(grey_picture(1), given_up=True), job(grey_picture(2))]
    assert classes(infer(batcher, jobs)) == [EngineClosedError, 2]
    assert classes(infer(batcher, [jobs[0]])) == [EngineClosedError]
    assert batcher.ran == [1]


def test_who_gives_up_while_another_batch_runs_is_left_out(batcher):
    jobs, runs, goes_on = [job(grey_picture(value)) for value in (1, 2, 3)], threading.Event(), threading.Event()

    def hold(pictures: int) -> None:
        batcher.ran.append(pictures)
        runs.set()
        assert goes_on.wait(10)

    batcher.on_batch = hold
    first = begin(batcher, [job(grey_picture(4))])
    assert runs.wait(10)
    second = begin(batcher, jobs)
    batcher._threads.call(lambda: None)  # returns after the thread has prepared the batch
    assert all(one.picture is not None for one in jobs)
    jobs[1].given_up = True
    goes_on.set()
    assert classes(first.result(10)) == [4]
    assert classes(second.result(10)) == [1, EngineClosedError, 3]
    assert batcher.ran == [1, 2]


@pytest.mark.parametrize(
    ("bad", "place"),
    [
        (cut_off_jpeg(), DecodePlace.GPU),
        (cut_off_jpeg(), DecodePlace.HERE),
        (cut_off_jpeg(), DecodePlace.THREAD),
        (b"GIF89a", DecodePlace.THREAD),
    ],
    ids=["in its batch", "at once", "by a decoder", "no picture"],
)
def test_a_picture_that_failed_is_let_go_of_at_once(batcher, run, monkeypatch, bad, place):
    monkeypatch.setattr(batcher._detector, "place_of", lambda encoded: place)

    async def ask(picture: bytes, jobs: list[weakref.ref[Job]]) -> None:
        asked = job(picture)
        jobs.append(weakref.ref(asked))
        with pytest.raises(PictureError):
            await batcher.run(asked)

    async def ask_for_one_and_for_several() -> list[weakref.ref[Job]]:
        jobs: list[weakref.ref[Job]] = []
        await ask(bad, jobs)
        await asyncio.gather(*(ask(bad, jobs) for _ in range(4)))
        await asyncio.gather(*(batcher.run(job(grey_picture(1))) for _ in range(4)))  # Serve keeps its last batch alive
        return jobs

    gc.disable()
    try:
        jobs = run(ask_for_one_and_for_several())
        assert [kept() for kept in jobs] == [None] * 5
    finally:
        gc.enable()


def test_a_batchs_answers_wait_until_the_next_one_has_begun(batcher, run, monkeypatch):
    monkeypatch.setattr("deployments.batching.batcher.NEXT_BATCH_S", 5.0)  # long enough for a busy machine
    runs, goes_on, order = threading.Event(), threading.Event(), []

    def hold(pictures: int) -> None:
        order.append(f"batch of {pictures}")
        runs.set()
        assert goes_on.wait(10)

    async def ask(value: int) -> None:
        await batcher.run(job(grey_picture(value)))
        order.append(f"answer {value}")

    async def ask_all() -> None:
        first = asyncio.create_task(ask(1))
        assert await asyncio.to_thread(runs.wait, 10)
        others = [asyncio.create_task(ask(value)) for value in (2, 3)]
        while len(batcher._gate._waiting) < 2:  # decoded, but too few for a second batch
            await asyncio.sleep(0.01)
        goes_on.set()
        await asyncio.gather(first, *others)

    batcher.on_batch = hold
    run(ask_all())
    assert order.index("batch of 2") < order.index("answer 1")


def test_a_lone_picture_is_not_kept_waiting_for_others(batcher, run, monkeypatch):
    monkeypatch.setattr(batcher, "_run_batch", None)  # @serve.batch must not be called
    rows = run(batcher.run(job(grey_picture(7))))
    assert classes([rows]) == [7]
    assert batcher.ran == [1]


def test_a_lone_caller_that_leaves_keeps_his_place_until_the_batch_is_over(batcher, run):
    runs, goes_on = threading.Event(), threading.Event()

    def hold(pictures: int) -> None:
        runs.set()
        assert goes_on.wait(10)

    async def leave() -> None:
        asked = job(grey_picture(1))
        asking = asyncio.create_task(batcher.run(asked))
        assert await asyncio.to_thread(runs.wait, 10)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert asked.given_up
        assert (batcher.depth, batcher._gate.waves) == (0, 1)
        goes_on.set()
        while batcher._gate.waves:
            await asyncio.sleep(0.01)

    batcher.on_batch = hold
    run(leave())
