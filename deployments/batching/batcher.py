"""Batcher: takes single pictures, decodes them, and runs them on the engine in full batches."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.errors import EngineClosedError, GpuLostError, PictureError
from azaion_engine.pictures.jpeg_header import PlainJpeg, read_plain_jpeg
from azaion_engine.pictures.prepared import PreparedBatch, PreparedPicture
from deployments.batching.deadline import Deadline
from deployments.batching.engine_threads import EngineThreads
from deployments.batching.gate import MAX_WAVES, BatchGate, Wave

logger = logging.getLogger("ray.serve")

Rows = NDArray[np.float32]

AT_ONCE_BYTES, AT_ONCE_PIXELS = 16 * 1024, 256 * 256
"""A plain JPEG up to both, its pixels and the network's together, is decoded where it comes in.

That takes up to 0.3 ms, about as long as to hand it to a thread and back. Both, because a damaged or progressive JPEG,
as any other format, can claim any number of pixels in a few bytes.
"""

NEXT_BATCH_S = 0.005
"""How long a batch's answers wait at most for the next batch to begin; 2 ms is usual."""


def _with_signature(method: Any) -> Any:
    """Works out a method's signature once: `@serve.batch` asks for it at every call, which takes 7 µs instead of 2."""
    method.__signature__ = inspect.signature(method)
    return method


@dataclass
class Job:
    """One picture on its way through the engine.

    Attributes:
        encoded: The picture as it came; None where there is nothing to decode.
        picture: Ready for the engine.
        wave: What it was let into `@serve.batch` with.
        received: When it came, `time.perf_counter` seconds, as are the other times.
        in_batch: Whether `@serve.batch` has handed it to one of the engine's threads.
        given_up: Whether its caller no longer waits.
        decode_s: Seconds that decoding took.
        started: When its batch started.
        ended: When its batch ended.
    """

    encoded: bytes | None = None
    picture: PreparedPicture | None = None
    wave: Wave = field(init=False)
    received: float = field(default_factory=time.perf_counter)
    in_batch: bool = False
    given_up: bool = False
    decode_s: float = 0.0
    started: float = 0.0
    ended: float = 0.0

    def prepare(self, detector: Detector, plain: PlainJpeg | None = None) -> None:
        """Decodes what is not ready yet.

        Args:
            detector: Whose engine is to run it.
            plain: As for `Detector.prepare`.

        Raises:
            PictureError: It cannot be decoded.
        """
        if self.picture is None and self.encoded is not None:
            began = time.perf_counter()
            self.picture = detector.prepare(self.encoded, plain)
            self.decode_s = time.perf_counter() - began

    def timing_ms(self) -> dict[str, float]:
        """Returns milliseconds: `decode`, `queue` (waiting for the engine), `engine` (the whole batch), `total`."""
        return {
            "decode": round(self.decode_s * 1000, 3),
            "queue": round(max(0.0, self.started - self.received - self.decode_s) * 1000, 3),
            "engine": round((self.ended - self.started) * 1000, 3),
            "total": round((time.perf_counter() - self.received) * 1000, 3),
        }


@dataclass
class Batch:
    """Jobs that run together.

    Attributes:
        jobs: In the order of their answers.
        errors: Why a job cannot be made ready, by its place among the jobs.
        prepared: The pictures of those that can run, put together while another batch runs.
    """

    jobs: list[Job]
    errors: dict[int, Exception] = field(default_factory=dict)
    prepared: PreparedBatch | None = None

    @property
    def sound(self) -> list[Job]:
        """Those that could be made ready."""
        return [job for place, job in enumerate(self.jobs) if place not in self.errors]


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
            decode_threads: Threads that decode all but the smallest pictures.
        """
        self.on_batch: Callable[[int], None] = lambda pictures: None
        self.decoders = ThreadPoolExecutor(decode_threads, "decode")
        self._detector = detector
        self._timeout_s = timeout_s
        lanes = min(detector.engine.lanes, MAX_WAVES - 1)
        self._threads = EngineThreads(lanes, self._prepare, self._infer)
        batch_size = detector.engine.get_batch_size()
        height, width = detector.engine.get_input_shape()
        self._network_pixels = height * width
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
        rows: Rows | Exception
        with self._gate.places, Deadline(self._timeout_s):
            if (tiny := self._read_tiny(job.encoded)) is not None:
                job.prepare(self._detector, tiny)
            elif job.encoded is not None and not self._detector.leaves_to_gpu(job.encoded):
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

    def _read_tiny(self, encoded: bytes | None) -> PlainJpeg | None:
        """Reads the header of a picture that is decoded where it comes in; None for any other."""
        left = AT_ONCE_PIXELS - self._network_pixels
        if left <= 0 or encoded is None or len(encoded) > AT_ONCE_BYTES:
            return None
        plain = read_plain_jpeg(encoded)
        return plain if plain is not None and plain.width * plain.height <= left else None

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0, max_concurrent_batches=MAX_WAVES)  # type: ignore[untyped-decorator]
    @_with_signature
    async def _run_batch(self, jobs: list[Job]) -> list[Rows | Exception]:
        # The gate decided what belongs together, so the timer is zero; __init__ sets the real batch size.
        return await self._results(jobs)

    async def _results(self, jobs: list[Job]) -> list[Rows | Exception]:
        results = await self._begin(jobs)
        await self._let_next_begin()
        return results

    def _begin(self, jobs: list[Job]) -> asyncio.Future[list[Rows | Exception]]:
        """Hands a batch to the engine's threads; to cancel its results does not stop it."""
        loop = asyncio.get_running_loop()
        results: asyncio.Future[list[Rows | Exception]] = loop.create_future()
        self._threads.submit(Batch(jobs), lambda outcome: loop.call_soon_threadsafe(self._end, jobs, outcome, results))
        for job in jobs:
            job.in_batch = True
        return results

    def _end(
        self,
        jobs: list[Job],
        outcome: list[Rows | Exception] | Exception,
        results: asyncio.Future[list[Rows | Exception]],
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

    def _prepare(self, batch: Batch) -> None:
        for place, job in enumerate(batch.jobs):
            try:
                job.prepare(self._detector)
            except PictureError as error:
                batch.errors[place] = copy(error)  # without the frames that it came by, which keep the batch: see `run`
            except Exception as error:
                batch.errors[place] = error
        with suppress(Exception):  # then they are put together, or tried alone, where an error reaches the caller
            batch.prepared = PreparedBatch.of([job.picture for job in batch.sound if job.picture and not job.given_up])

    def _infer(self, batch: Batch) -> list[Rows | Exception]:
        found = iter(self._infer_each(batch.sound, batch.prepared))
        return [batch.errors[place] if place in batch.errors else next(found) for place in range(len(batch.jobs))]

    def _infer_each(self, jobs: list[Job], prepared: PreparedBatch | None = None) -> list[Rows | Exception]:
        """Runs a batch; a picture that the engine chokes on fails alone."""
        try:
            return self._infer_together(jobs, prepared)
        except (GpuLostError, EngineClosedError) as error:
            return [error] * len(jobs)
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            logger.exception("a batch of %d failed; each picture is tried alone", len(jobs))
            return [result for job in jobs for result in self._infer_each([job])]

    def _infer_together(self, jobs: list[Job], prepared: PreparedBatch | None) -> list[Rows | Exception]:
        # Now, not earlier: some may have given up while another batch ran. Nobody reads their results, but @serve.batch
        # counts them.
        results: list[Rows | Exception] = [EngineClosedError("the caller gave up")] * len(jobs)
        live = {index: job.picture for index, job in enumerate(jobs) if job.picture and not job.given_up}
        if not live:
            return results
        self.on_batch(len(live))
        started = time.perf_counter()
        if prepared is None or len(prepared.pictures) != len(live):
            prepared = PreparedBatch.of(list(live.values()))
        found = self._detector.infer(prepared)
        ended = time.perf_counter()
        for index, rows in zip(live, found, strict=True):
            results[index] = rows
            jobs[index].started, jobs[index].ended = started, ended
        return results
