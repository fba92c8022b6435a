"""DetectorDeployment: one replica per GPU, which owns the engine and answers requests in batches."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve

from azaion_engine.cores import available_cores
from azaion_engine.detections import Detections
from azaion_engine.detector import Detector, PreparedPicture, check_confidence
from azaion_engine.errors import DeadlineExceededError, EngineClosedError, GpuLostError
from azaion_engine.image import PictureLimits, decode, encode_jpeg
from deployments.batch_gate import MAX_WAVES, BatchGate
from deployments.http_api import create_api
from deployments.placement import replicas_here
from deployments.service_settings import ServiceSettings

logger = logging.getLogger("ray.serve")

OpenDetector = Callable[[ServiceSettings], Detector]


@dataclass
class Answer:
    """What was found in one picture, and how long each stage took.

    Attributes:
        detections: The boxes, in pixels of the picture.
        timing_ms: Milliseconds: `decode`, `queue` (waiting for the engine), `engine` (the whole batch), `total`.
    """

    detections: Detections
    timing_ms: dict[str, float]


@dataclass
class _Job:
    """One picture on its way through the engine.

    Attributes:
        encoded: The picture as it came; None once its caller has given up.
        received: When it came, `time.perf_counter` seconds, as are the other times.
        ahead: Its decoding, where that began before its batch did.
        in_batch: Whether `@serve.batch` has handed it to the engine's thread.
        picture: Ready for the engine.
        decode_s: Seconds that decoding took.
        started: When its batch started.
        ended: When its batch ended.
    """

    encoded: bytes | None
    received: float = field(default_factory=time.perf_counter)
    ahead: Future[None] | None = None
    in_batch: bool = False
    picture: PreparedPicture | None = None
    decode_s: float = 0.0
    started: float = 0.0
    ended: float = 0.0

    def prepare(self, detector: Detector) -> None:
        """Decodes; once, on whichever thread comes first."""
        if self.encoded is not None:
            began = time.perf_counter()
            picture = detector.prepare(self.encoded)
            self.decode_s = time.perf_counter() - began
            if self.encoded is not None:  # its caller is still there
                self.picture = picture


@serve.deployment
@serve.ingress(create_api)
class DetectorDeployment:
    """Owns one engine; its event loop never waits for it, and one batch runs at a time."""

    def __init__(self, settings: ServiceSettings, replicas: int, open_detector: OpenDetector) -> None:
        """Loads or builds the engine and warms it up; the replica is ready when this returns.

        Args:
            settings: Limits and model.
            replicas: How many there are; those on one host share its cores.
            open_detector: Opens the detector in this process (tests put a stand-in engine here).
        """
        _show_library_logs()
        started = time.monotonic()
        cores = max(1, available_cores() // replicas_here(replicas))
        self.settings = settings
        self.detector = open_detector(settings.model_copy(update={"threads": settings.threads or cores}))
        self._decoders = ThreadPoolExecutor(settings.decode_threads or cores, "decode")
        self._engine_threads = ThreadPoolExecutor(MAX_WAVES, "engine")
        self._engine_free = threading.Lock()
        batch_size = self.detector.engine.get_batch_size()
        self._gate = BatchGate(batch_size, settings.max_queue)
        self._run_batch.set_max_batch_size(batch_size)
        self._engine_threads.submit(self.detector.warm_up).result()
        logger.info(
            "ready in %.1f s: %s on %s, input %s, batches of %d",
            time.monotonic() - started,
            self.detector.model_name,
            self.detector.engine.name,
            "x".join(map(str, self.detector.engine.get_input_shape())),
            batch_size,
        )

    async def detect(
        self, picture: bytes, confidence: float | None = None, classes: Collection[int | str] | None = None
    ) -> Answer:
        """Finds the objects in one encoded picture.

        Args:
            picture: JPEG, PNG, WebP, BMP or TIFF bytes.
            confidence: Threshold 0…1; default: the settings' own.
            classes: Class ids or names to keep; default: all.

        Raises:
            PictureError: The picture cannot be used; its neighbours in the batch are not affected.
            InvalidParameterError: Bad confidence or class.
            OverloadedError: The queue is full.
            DeadlineExceededError: It took longer than `timeout_s`.
            GpuLostError: The GPU is gone; Ray is about to replace this replica.
        """
        check_confidence(confidence)
        kept = self.detector.class_ids(classes) if classes is not None else None
        with self._gate.admit():
            job = _Job(picture)
            if self._gate.busy:  # else an engine's thread takes it at once and decodes it with one hop less
                job.ahead = self._decoders.submit(job.prepare, self.detector)
            task = asyncio.ensure_future(self._gate.run(self._run_batch, job))
            try:
                done, _ = await asyncio.wait((task,), timeout=self.settings.timeout_s)
            finally:  # a cancelled caller comes this way too
                if not task.done():
                    self._abandon(job, task)
            if not done:
                raise DeadlineExceededError(f"no answer within {self.settings.timeout_s:g} s")
            rows = task.result()
        if isinstance(rows, Exception):  # @serve.batch hands an exception in the list back, it does not raise it
            raise rows
        assert job.picture is not None  # it has rows
        detections = self.detector.finish(job.picture, rows, confidence, kept)
        timing = {
            "decode": job.decode_s,
            "queue": max(0.0, job.started - job.received - job.decode_s),
            "engine": job.ended - job.started,
            "total": time.perf_counter() - job.received,
        }
        return Answer(detections, {stage: round(seconds * 1000, 3) for stage, seconds in timing.items()})

    async def draw(
        self, picture: bytes, confidence: float | None = None, classes: Collection[int | str] | None = None
    ) -> tuple[bytes, dict[str, float]]:
        """Finds the objects in one encoded picture and draws them.

        The picture is decoded a second time: keeping the pixels of every picture that waits for the engine would cost
        far more memory than that costs time, and `detect` stays as quick as it is.

        Args:
            picture: As for `detect`, as are the others.
            confidence: Threshold 0…1.
            classes: Class ids or names to keep.

        Returns:
            The upright picture with its boxes as a JPEG, and `Answer.timing_ms` with `draw` (decode, draw and encode).

        Raises:
            AzaionError: What `detect` raises.
            PictureTooLargeError: A side is longer than a JPEG can hold.
        """
        answer = await self.detect(picture, confidence, classes)
        stages = dict(answer.timing_ms)
        detect_ms = stages.pop("total")
        started = time.perf_counter()
        drawing = asyncio.get_running_loop().run_in_executor(
            self._decoders, _draw_jpeg, picture, self.detector.limits, answer.detections
        )
        try:
            jpeg = await asyncio.wait_for(drawing, self.settings.timeout_s - detect_ms / 1000)
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"no answer within {self.settings.timeout_s:g} s") from None
        draw_ms = round((time.perf_counter() - started) * 1000, 3)
        return jpeg, {**stages, "draw": draw_ms, "total": round(detect_ms + draw_ms, 3)}

    def _abandon(self, job: _Job, task: asyncio.Future[Any]) -> None:
        """Spares the engine a picture that nobody waits for."""
        job.encoded = job.picture = None
        if job.ahead:
            job.ahead.cancel()
        if job.in_batch:
            # The engine's thread looks before it runs. The task keeps its place in the gate until the batch is over:
            # without it the next batch would be let in on top of a running one.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # read, or asyncio logs it
        else:
            task.cancel()

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0, max_concurrent_batches=MAX_WAVES)  # type: ignore[untyped-decorator]
    async def _run_batch(self, jobs: list[_Job]) -> list[NDArray[np.float32] | Exception]:
        # The gate decided what belongs together, so the timer is zero; __init__ sets the real batch size.
        for job in jobs:
            job.in_batch = True
        return await asyncio.get_running_loop().run_in_executor(self._engine_threads, self._infer, jobs)

    def _infer(self, jobs: list[_Job]) -> list[NDArray[np.float32] | Exception]:
        """Runs on one of the engine's threads: one batch is made ready while the other one runs."""
        failed: dict[int, Exception] = {}
        for index, job in enumerate(jobs):
            try:
                self._prepare(job)
            except Exception as error:  # this picture's own
                failed[index] = error
        good = [index for index in range(len(jobs)) if index not in failed]
        rows = dict(zip(good, self._infer_each([jobs[index] for index in good]), strict=True))
        return [failed[index] if index in failed else rows[index] for index in range(len(jobs))]

    def _prepare(self, job: _Job) -> None:
        """Decodes what no decoder has begun, and waits for the others."""
        if job.ahead is None or job.ahead.cancel():
            job.prepare(self.detector)
        else:
            job.ahead.result()

    def _infer_each(self, jobs: list[_Job]) -> list[NDArray[np.float32] | Exception]:
        """Runs a batch; a picture that the engine chokes on fails alone."""
        try:
            return self._infer_together(jobs)
        except (GpuLostError, EngineClosedError) as error:
            return [error] * len(jobs)
        except Exception as error:
            if len(jobs) == 1:
                return [error]
            logger.exception("a batch of %d failed; each picture is tried alone", len(jobs))
            return [result for job in jobs for result in self._infer_each([job])]

    def _infer_together(self, jobs: list[_Job]) -> list[NDArray[np.float32] | Exception]:
        # Nobody reads the result of a caller who gave up, but @serve.batch counts them.
        results: list[NDArray[np.float32] | Exception] = [EngineClosedError("the caller gave up")] * len(jobs)
        pictures = {index: job.picture for index, job in enumerate(jobs) if job.picture is not None}
        if not pictures:
            return results
        batch = self.detector.stack(list(pictures.values()))
        with self._engine_free:
            # Some may have given up while the other batch ran.
            rows = [row for row, index in enumerate(pictures) if jobs[index].picture is not None]
            if not rows:
                return results
            started = time.perf_counter()
            found = self.detector.run(batch if len(rows) == len(batch) else batch[rows])
            ended = time.perf_counter()
        live = list(pictures)
        for row, boxes in zip(rows, found, strict=True):
            results[live[row]] = boxes
            jobs[live[row]].started, jobs[live[row]].ended = started, ended
        return results

    def refuse_when_full(self) -> None:
        """Raises OverloadedError when `detect` would."""
        self._gate.refuse_when_full()

    def describe(self) -> dict[str, Any]:
        """Returns the model's card: name, engine, input size, batch, classes, limits."""
        engine = self.detector.engine
        height, width = engine.get_input_shape()
        return {
            "name": self.detector.model_name,
            "engine": engine.name,
            "input": {"height": height, "width": width},
            "batch_size": engine.get_batch_size(),
            "classes": {str(class_id): name for class_id, name in sorted(self.detector.names.items())},
            "confidence": self.detector.confidence,
            "limits": {
                "max_picture_bytes": self.settings.max_picture_bytes,
                "max_picture_pixels": self.settings.max_picture_pixels,
                "max_pictures": self.settings.pictures_at_once,
                "timeout_s": self.settings.timeout_s,
            },
        }

    def where(self) -> dict[str, str]:
        """Returns where this replica runs: process, node, replica id and the GPUs that it was given."""
        context = ray.get_runtime_context()
        return {
            "pid": str(os.getpid()),
            "node_id": context.get_node_id(),
            "replica_id": serve.get_replica_context().replica_id.unique_id,
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    async def check_health(self) -> None:
        """Raises when the engine can never answer again, so that Ray replaces this replica."""
        self.detector.engine.check_health()

    def __del__(self) -> None:
        # Serve calls this after the accepted requests were answered; __init__ may have failed half-way.
        if hasattr(self, "_engine_threads"):
            self._engine_threads.shutdown(wait=True)
            self._decoders.shutdown(wait=False)
        if hasattr(self, "detector"):
            self.detector.close()


def _draw_jpeg(picture: bytes, limits: PictureLimits, found: Detections) -> bytes:
    return encode_jpeg(found.draw(decode(picture, limits)))


def _show_library_logs() -> None:
    """Sends the library's log, engine builds above all, where Serve's own log goes."""
    library = logging.getLogger("azaion_engine")
    library.setLevel(logging.INFO)
    library.handlers = list(logger.handlers)
    library.propagate = not logger.handlers
