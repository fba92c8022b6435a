"""DetectorDeployment: one replica per GPU, which owns the engine and answers requests in batches."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
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
from deployments.batch_gate import MAX_WAVES, BatchGate
from deployments.http_api import create_api
from deployments.metrics import ServiceMetrics, watched_gpu
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
        picture: What to run; None once its caller has given up.
        in_batch: Whether `@serve.batch` has handed it to the engine's thread.
        received: When the picture came, `time.perf_counter` seconds, as are the others.
        decoded: When it was ready for the engine.
        started: When its batch started.
        ended: When its batch ended.
    """

    picture: PreparedPicture | None = None
    in_batch: bool = False
    received: float = field(default_factory=time.perf_counter)
    decoded: float = 0.0
    started: float = 0.0
    ended: float = 0.0


@serve.deployment
@serve.ingress(create_api)
class DetectorDeployment:
    """Owns one engine; its event loop never waits for it, and one thread alone runs it."""

    def __init__(self, settings: ServiceSettings, replicas: int, open_detector: OpenDetector) -> None:
        """Loads or builds the engine and warms it up; the replica is ready when this returns.

        Args:
            settings: Limits and model.
            replicas: How many there are; as if all were on this host, they share its cores.
            open_detector: Opens the detector in this process (tests put a stand-in engine here).
        """
        _show_library_logs()
        started = time.monotonic()
        cores = max(1, available_cores() // replicas)
        self.settings = settings
        self.detector = open_detector(settings.model_copy(update={"threads": settings.threads or cores}))
        self._decoders = ThreadPoolExecutor(settings.decode_threads or cores, "decode")
        self._engine_thread = ThreadPoolExecutor(1, "engine")
        batch_size = self.detector.engine.get_batch_size()
        self._gate = BatchGate(batch_size, settings.max_queue)
        self._run_batch.set_max_batch_size(batch_size)
        self._engine_thread.submit(self.detector.warm_up).result()
        self.metrics = ServiceMetrics(
            batch_size=batch_size,
            max_queue=settings.max_queue,
            queue_depth=lambda: self._gate.admitted,
            engine_name=self.detector.engine.name,
            engine_origin=self.detector.engine.origin,
            gpu=watched_gpu(),
        )
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
            job = _Job()
            task = asyncio.ensure_future(self._run(job, picture))
            try:
                done, _ = await asyncio.wait((task,), timeout=self.settings.timeout_s)
            finally:  # a cancelled caller comes this way too
                if not task.done():
                    self._abandon(job, task)
            if not done:
                raise DeadlineExceededError(f"no answer within {self.settings.timeout_s:g} s")
            prepared, rows = task.result()
        detections = self.detector.finish(prepared, rows, confidence, kept)
        timing = {
            "decode": job.decoded - job.received,
            "queue": job.started - job.decoded,
            "engine": job.ended - job.started,
            "total": time.perf_counter() - job.received,
        }
        answer = Answer(detections, {stage: round(seconds * 1000, 3) for stage, seconds in timing.items()})
        self.metrics.answered(answer)
        return answer

    async def _run(self, job: _Job, picture: bytes) -> tuple[PreparedPicture, NDArray[np.float32]]:
        loop = asyncio.get_running_loop()
        job.picture = prepared = await loop.run_in_executor(self._decoders, self.detector.prepare, picture)
        job.decoded = time.perf_counter()
        rows = await self._gate.run(self._run_batch, job)
        if isinstance(rows, Exception):  # @serve.batch hands an exception in the list back, it does not raise it
            raise rows
        return prepared, rows

    def _abandon(self, job: _Job, task: asyncio.Future[Any]) -> None:
        """Spares the engine a picture that nobody waits for."""
        if job.in_batch:
            # The engine's thread looks before it runs. The task keeps its place in the gate until the batch is over:
            # without it the next batch would be let in on top of a running one.
            job.picture = None
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # read, or asyncio logs it
        else:
            task.cancel()

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0, max_concurrent_batches=MAX_WAVES)  # type: ignore[untyped-decorator]
    async def _run_batch(self, jobs: list[_Job]) -> list[NDArray[np.float32] | Exception]:
        # The gate decided what belongs together, so the timer is zero; __init__ sets the real batch size.
        for job in jobs:
            job.in_batch = True
        return await asyncio.get_running_loop().run_in_executor(self._engine_thread, self._infer, jobs)

    def _infer(self, jobs: list[_Job]) -> list[NDArray[np.float32] | Exception]:
        """Runs on the engine's thread; a picture that the engine chokes on fails alone."""
        started = time.perf_counter()
        live = {index: job.picture for index, job in enumerate(jobs) if job.picture is not None}
        self.metrics.batch(len(live))
        rows = dict(zip(live, self._infer_each(list(live.values())), strict=True))
        ended = time.perf_counter()
        for job in jobs:
            job.started, job.ended = started, ended
        # Nobody reads the result of a caller who gave up, but @serve.batch counts them.
        return [rows.get(index, EngineClosedError("the caller gave up")) for index in range(len(jobs))]

    def _infer_each(self, pictures: list[PreparedPicture]) -> list[NDArray[np.float32] | Exception]:
        try:
            return [*self.detector.infer(pictures)] if pictures else []
        except (GpuLostError, EngineClosedError) as error:
            return [error] * len(pictures)
        except Exception as error:
            if len(pictures) == 1:
                return [error]
            logger.exception("a batch of %d failed; each picture is tried alone", len(pictures))
            return [result for picture in pictures for result in self._infer_each([picture])]

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
        if hasattr(self, "metrics"):
            self.metrics.close()
        if hasattr(self, "_engine_thread"):
            self._engine_thread.shutdown(wait=True)
            self._decoders.shutdown(wait=False)
        if hasattr(self, "detector"):
            self.detector.close()


def _show_library_logs() -> None:
    """Sends the library's log, engine builds above all, where Serve's own log goes."""
    library = logging.getLogger("azaion_engine")
    library.setLevel(logging.INFO)
    library.handlers = list(logger.handlers)
    library.propagate = not logger.handlers
