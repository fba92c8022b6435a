"""Batcher: decodes single pictures and runs them on the engine in full batches."""

from __future__ import annotations

import asyncio
import inspect
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.engines.base import Found
from azaion_engine.errors import PictureError
from azaion_engine.pictures.preparing import DecodePlace
from azaion_engine.results.detections import Detections
from azaion_engine.tiling.tiled_picture import Piece, TiledPicture
from deployments.batching.batch import Batch
from deployments.batching.deadline import Deadline
from deployments.batching.engine_threads import EngineThreads
from deployments.batching.gate import MAX_WAVES, BatchGate
from deployments.batching.job import Job
from deployments.batching.tiled_run import TiledRun

Rows = NDArray[np.float32]

NEXT_BATCH_S = 0.005
"""Maximum time that a batch's answers wait for the next batch to start, seconds (results/cpu_2_cores_speedups.json)."""


TILED_AT_ONCE = 2
"""Pictures whose tiles run at a time: the next is decoded while one ends. Further ones wait, still encoded."""


def _with_signature(function: Any) -> Any:
    """Caches a function's signature: `@serve.batch` reads it at every call."""
    function.__signature__ = inspect.signature(function)
    return function


class Batcher:
    """Runs jobs of one event loop on one detector; the loop never blocks on the engine.

    Attributes:
        on_batch: Called before each batch runs, with its number of pictures.
        decoders: Threads for work on pixels: decoding and drawing.
        tiles_at_once: Maximum number of tiles of one picture that are held at a time.
    """

    def __init__(self, detector: Detector, max_queue: int, timeout_s: float, decode_threads: int) -> None:
        """Starts the threads.

        Args:
            detector: Prepares and runs the pictures; the batcher does not close it.
            max_queue: Maximum number of jobs held at a time.
            timeout_s: Timeout of a job, seconds.
            decode_threads: Threads that decode pictures.
        """
        self.on_batch: Callable[[int], None] = lambda pictures: None
        self.decoders = ThreadPoolExecutor(decode_threads, "decode")
        # Tiles whose picture holds memory must not wait behind decodes that wait for memory.
        self._tilers = ThreadPoolExecutor(decode_threads, "tile")
        self._detector = detector
        self._timeout_s = timeout_s
        lanes = min(detector.engine.lanes, MAX_WAVES - 1)
        self._threads = EngineThreads(lanes, Batch.prepare, Batch.run)
        batch_size = detector.engine.get_batch_size()
        self._gate = BatchGate(batch_size, max_queue, lanes, detector.engine.smallest_second)
        self._run_batch = _run_batch_of(self, batch_size)
        self.tiles_at_once = max(1, min(2 * batch_size, max_queue // 4))
        self._tiled = asyncio.Semaphore(TILED_AT_ONCE)

    @property
    def depth(self) -> int:
        """Jobs held now: decoding, waiting or running."""
        return self._gate.places.taken

    def warm_up(self) -> None:
        """Warms the detector up, on a thread that will run batches."""
        self._threads.call(self._detector.warm_up)

    def refuse_when_full(self) -> None:
        """Raises OverloadedError if the queue is full."""
        self._gate.places.refuse_when_full()

    async def run(self, job: Job) -> Rows:
        """Runs one job in a batch with others.

        Args:
            job: Contains a picture, encoded or prepared; this method sets its times.

        Returns:
            float32 `[k, 6]` or `[k, 7]`, in pixels of the network input; `job.picture` is set.

        Raises:
            PictureError: The picture cannot be used; the rest of the batch is not affected.
            OverloadedError: The queue is full.
            OutOfMemoryError: Memory to decode the picture is lacking at the moment.
            DeadlineExceededError: It took longer than `timeout_s`.
            GpuLostError: The GPU is lost.
        """
        with self._gate.places, Deadline(self._timeout_s):
            return await self._run_in_place(job)

    async def run_tiled(self, picture: TiledPicture, make_job: Callable[[Piece], Job]) -> tuple[Detections, TiledRun]:
        """Runs the tiles of one picture, in batches with other requests'.

        At most `tiles_at_once` of them are held at a time: the next is prepared when one is over, so that others'
        pictures wait for few of them. Of several such pictures, `TILED_AT_ONCE` run at a time.

        Args:
            picture: A picture that is cut.
            make_job: Makes the job of a piece.

        Returns:
            The boxes in pixels of the picture, and how the run went.

        Raises:
            PictureError: The picture cannot be used.
            OverloadedError: The queue is full.
            OutOfMemoryError: As `run`, like DeadlineExceededError, which is about the whole picture, and GpuLostError.
        """
        loop = asyncio.get_running_loop()
        run = TiledRun(received=time.perf_counter())
        with self._gate.places, Deadline(self._timeout_s):
            async with self._tiled:
                try:
                    began = time.perf_counter()
                    left_s = run.received + self._timeout_s - began
                    await loop.run_in_executor(self.decoders, picture.decode, left_s)
                    run.decode_s = time.perf_counter() - began
                    with self._gate.places.more(min(self.tiles_at_once, len(picture.pieces)) - 1) as more:
                        await run.work(picture.pieces, make_job, self._run_in_place, 1 + more)
                except BaseException:
                    self._free(picture)
                    raise
            found = await loop.run_in_executor(self._tilers, picture.result)
        if isinstance(found, PictureError):
            raise found
        return found, run

    def _free(self, picture: TiledPicture) -> None:
        """Frees a picture that was given up; in a thread, since it may still be decoding."""
        with suppress(RuntimeError):  # the threads have ended
            self._tilers.submit(picture.close)

    async def _run_in_place(self, job: Job) -> Rows:
        """Runs one job whose place in the queue is taken."""
        rows: Found
        if job.encoded is not None:
            place = self._detector.place_of(job.encoded)
        else:
            place = DecodePlace.HERE if job.piece is not None and job.piece.whole.held else DecodePlace.THREAD
        if place is DecodePlace.HERE:
            job.prepare(self._detector)
        elif place is DecodePlace.THREAD and job.is_picture:
            # Before the gate: a batch must not wait for one slow picture.
            deadline = time.perf_counter() + self._timeout_s
            threads = self.decoders if job.piece is None else self._tilers
            await asyncio.get_running_loop().run_in_executor(threads, job.prepare, self._detector, deadline)
        job.wave = await self._gate.enter()
        try:
            if job.wave.members == 1:  # nothing to collect (results/cpu_2_cores_speedups.json)
                [rows] = await self._results([job])
            else:
                rows = await self._run_batch(job)
        except asyncio.CancelledError:  # timeout, or the caller has gone: the engine can skip the picture
            job.given_up = True
            raise
        finally:
            if not job.in_batch:  # else `_end` leaves the gate when the batch is over
                self._gate.leave(job.wave)
        if isinstance(rows, Exception):  # @serve.batch returns an exception in the list, it does not raise it
            try:
                raise rows
            finally:
                del rows  # breaks the cycle of error and frame, which would keep the picture until a collection
        return rows

    def close(self) -> None:
        """Ends the threads after the running batches."""
        self._threads.close()
        self.decoders.shutdown(wait=False)
        self._tilers.shutdown(wait=False)

    async def _results(self, jobs: list[Job]) -> list[Found]:
        results = await self._begin(jobs)
        await self._let_next_begin()
        return results

    def _begin(self, jobs: list[Job]) -> asyncio.Future[list[Found]]:
        """Submits a batch to the engine's threads; cancelling the returned future does not stop it."""
        loop = asyncio.get_running_loop()
        results: asyncio.Future[list[Found]] = loop.create_future()
        batch = Batch(jobs, self._detector, self.on_batch)
        self._threads.submit(batch, lambda outcome: loop.call_soon_threadsafe(self._end, jobs, outcome, results))
        for job in jobs:
            job.in_batch = True
        return results

    def _end(
        self,
        jobs: list[Job],
        outcome: list[Found] | Exception,
        results: asyncio.Future[list[Found]],
    ) -> None:
        # Only now, not when a caller gives up: until the batch is over, the gate must count it as running.
        for job in jobs:
            self._gate.leave(job.wave)
        if results.cancelled():
            return
        if isinstance(outcome, Exception):
            results.set_exception(outcome)
        else:
            results.set_result(outcome)

    async def _let_next_begin(self) -> None:
        """Delays answers for up to `NEXT_BATCH_S` while the engine is idle and a batch is on its way to it.

        Sending a batch's answers keeps the event loop busy; the next batch would pass through `@serve.batch` only step
        by step, between two answers.
        """
        end = time.perf_counter() + NEXT_BATCH_S
        while self._threads.idle and self._gate.waves and time.perf_counter() < end:
            await asyncio.sleep(NEXT_BATCH_S / 10)


def _run_batch_of(batcher: Batcher, batch_size: int) -> Callable[[Job], Coroutine[Any, Any, Found]]:
    """Returns what runs a job of a batcher in a batch that `@serve.batch` forms.

    As a method it would have one queue for all batchers of a process, and a batch could have jobs of two models.

    Args:
        batcher: Is not kept alive: Serve's queue never ends.
        batch_size: Maximum number of jobs in a batch.
    """
    known = weakref.ref(batcher)

    # The gate has formed the batch, so the wait timeout is zero.
    @serve.batch(max_batch_size=batch_size, batch_wait_timeout_s=0, max_concurrent_batches=MAX_WAVES)  # type: ignore[untyped-decorator]
    @_with_signature
    async def run_batch(jobs: list[Job]) -> list[Found]:
        running = known()
        assert running is not None  # whose `run` waits for this
        return await running._results(jobs)

    return run_batch  # type: ignore[no-any-return]
