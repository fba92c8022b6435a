"""Batcher: takes single pictures, decodes them, and runs them on the engine in full batches."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.engines.base import Found
from deployments.batching.batch import Batch
from deployments.batching.deadline import Deadline
from deployments.batching.engine_threads import EngineThreads
from deployments.batching.gate import MAX_WAVES, BatchGate
from deployments.batching.job import Job

Rows = NDArray[np.float32]

NEXT_BATCH_S = 0.005
"""Longest time that a batch's answers wait for the next batch to begin."""


def _with_signature(method: Any) -> Any:
    """Works out a method's signature once: `@serve.batch` asks for it at every call."""
    method.__signature__ = inspect.signature(method)
    return method


class Batcher:
    """Runs jobs of one event loop on one detector; the loop never waits for the engine.

    Attributes:
        on_batch: Told of every batch about to be run, with the number of its pictures.
        decoders: Threads for whatever needs a picture's pixels.
    """

    def __init__(self, detector: Detector, max_queue: int, timeout_s: float, decode_threads: int) -> None:
        """Starts the threads.

        Args:
            detector: Whose pictures these are; the batcher does not close it.
            max_queue: Most jobs held at a time.
            timeout_s: Seconds that a job may take.
            decode_threads: Threads that decode pictures.
        """
        self.on_batch: Callable[[int], None] = lambda pictures: None
        self.decoders = ThreadPoolExecutor(decode_threads, "decode")
        self._detector = detector
        self._timeout_s = timeout_s
        lanes = min(detector.engine.lanes, MAX_WAVES - 1)
        self._threads = EngineThreads(lanes, Batch.prepare, Batch.run)
        batch_size = detector.engine.get_batch_size()
        self._gate = BatchGate(batch_size, max_queue, lanes, detector.engine.smallest_second)
        self._run_batch.set_max_batch_size(batch_size)

    @property
    def depth(self) -> int:
        """Jobs held now: decoding, waiting or running."""
        return self._gate.places.taken

    def warm_up(self) -> None:
        """Runs what requests will need once, on a thread that will serve them."""
        self._threads.call(self._detector.warm_up)

    def refuse_when_full(self) -> None:
        """Raises OverloadedError when `run` would."""
        self._gate.places.refuse_when_full()

    async def run(self, job: Job) -> Rows:
        """Runs one job in a batch with others.

        Args:
            job: With a picture, encoded or ready; filled in with its times.

        Returns:
            float32 `[k, 6]`, in pixels of the network input; `job.picture` is set.

        Raises:
            PictureError: The picture cannot be used; its neighbours in the batch are not affected.
            OverloadedError: The queue is full.
            DeadlineExceededError: It took longer than `timeout_s`.
            GpuLostError: The GPU is gone.
        """
        rows: Found
        with self._gate.places, Deadline(self._timeout_s):
            if job.encoded is not None and not self._detector.is_for_gpu(job.encoded):
                # Before the gate: a batch must not wait for one slow picture.
                await asyncio.get_running_loop().run_in_executor(self.decoders, job.prepare, self._detector)
            job.wave = await self._gate.enter()
            try:
                if job.wave.members == 1:  # there is nothing to collect, and to ask takes half a millisecond
                    [rows] = await self._results([job])
                else:
                    rows = await self._run_batch(job)
            except asyncio.CancelledError:  # too late, or the caller has gone: spare the engine the picture
                job.given_up = True
                raise
            finally:
                if not job.in_batch:  # else its place is taken until the batch is over: see _end
                    self._gate.leave(job.wave)
        if isinstance(rows, Exception):  # @serve.batch hands an exception in the list back, it does not raise it
            try:
                raise rows
            finally:
                del rows  # the error leads to this frame: both, and the picture, would wait for the garbage collector
        return rows

    def close(self) -> None:
        """Ends the threads, after the batches that run."""
        self._threads.close()
        self.decoders.shutdown(wait=False)

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0, max_concurrent_batches=MAX_WAVES)  # type: ignore[untyped-decorator]
    @_with_signature
    async def _run_batch(self, jobs: list[Job]) -> list[Found]:
        # The gate decided what belongs together, so the timer is zero; __init__ sets the real batch size.
        return await self._results(jobs)

    async def _results(self, jobs: list[Job]) -> list[Found]:
        results = await self._begin(jobs)
        await self._let_next_begin()
        return results

    def _begin(self, jobs: list[Job]) -> asyncio.Future[list[Found]]:
        """Hands a batch to the engine's threads; to cancel its results does not stop it."""
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
        # Here and not where a caller leaves: some have left long ago, and the next batch must not be let in on top of a
        # running one.
        for job in jobs:
            self._gate.leave(job.wave)
        if results.cancelled():
            return
        if isinstance(outcome, Exception):
            results.set_exception(outcome)
        else:
            results.set_result(outcome)

    async def _let_next_begin(self) -> None:
        """Keeps answers back for a moment where the engine is idle and a batch is on its way to it.

        To send a batch's answers takes the event loop several milliseconds, in which the next batch would come through
        `@serve.batch` and be made ready a step at a time, between two answers.
        """
        end = time.perf_counter() + NEXT_BATCH_S
        while self._threads.idle and self._gate.waves and time.perf_counter() < end:
            await asyncio.sleep(NEXT_BATCH_S / 10)
