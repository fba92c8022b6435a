"""DetectorDeployment: one replica per GPU, which owns the engine and answers requests in batches."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve

from azaion_engine.detector import Detector, check_confidence
from azaion_engine.errors import DeadlineExceededError
from azaion_engine.pictures.codec import PictureLimits, decode, encode_jpeg
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import PreparedPicture
from azaion_engine.results.detections import Detections
from azaion_engine.system.cores import available_cores
from azaion_engine.system.interpreter import switch_threads_quickly
from deployments.batching.batcher import Batcher, Job
from deployments.batching.places import Places
from deployments.frontends.detect.routes import create_api
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.placement import replicas_here
from deployments.settings import ServiceSettings
from deployments.watching.log import RequestLog
from deployments.watching.metrics import ServiceMetrics, watched_gpu
from deployments.watching.record import RequestRecord

logger = logging.getLogger("ray.serve")

OpenDetector = Callable[[ServiceSettings], Detector]


@dataclass
class Answer:
    """What was found in one picture, and how long each stage took.

    Attributes:
        detections: The boxes, in pixels of the picture.
        timing_ms: Milliseconds: `decode`, `queue` (waiting for the engine), `engine` (the whole batch), `total`.
        batch_started: `time.perf_counter` seconds; the same for all of one batch.
    """

    detections: Detections
    timing_ms: dict[str, float]
    batch_started: float = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled attribute by attribute, as by default, it takes half as long again.
        return Answer, (self.detections, self.timing_ms, self.batch_started)


@dataclass
class RowAnswer:
    """What the network gave for one row of its input.

    Attributes:
        rows: float32 `[k, 6]`, in pixels of the network input.
        timing_ms: As in `Answer`.
        batch_started: As in `Answer`.
    """

    rows: NDArray[np.float32]
    timing_ms: dict[str, float]
    batch_started: float


@serve.deployment
@serve.ingress(create_api)
class DetectorDeployment(OpenInferenceGrpc):
    """Owns one engine; its event loop never waits for it.

    Attributes:
        settings: As given.
        detector: On the engine.
        bodies: One place for each request whose body is arriving.
    """

    def __init__(self, settings: ServiceSettings, replicas: int, open_detector: OpenDetector) -> None:
        """Loads or builds the engine and warms it up; the replica is ready when this returns.

        Args:
            settings: Limits and model.
            replicas: How many there are; those on one host share its cores.
            open_detector: Opens the detector in this process (tests put a stand-in engine here).
        """
        _show_library_logs()
        switch_threads_quickly()
        started = time.monotonic()
        cores = max(1, available_cores() // replicas_here(replicas, settings.replicas_per_gpu))
        self.settings = settings
        self.detector = open_detector(settings.model_copy(update={"threads": settings.threads or cores}))
        self._batcher = Batcher(self.detector, settings.max_queue, settings.timeout_s, settings.decode_threads or cores)
        self.bodies = Places(settings.bodies_at_once, f"{settings.bodies_at_once} bodies are arriving at the moment")
        self.repository = ModelRepository(self)
        self._batcher.warm_up()
        self.metrics = ServiceMetrics(
            batch_size=self.detector.engine.get_batch_size(),
            max_queue=settings.max_queue,
            queue_depth=lambda: self._batcher.depth,
            engine_name=self.detector.engine.name,
            engine_origin=self.detector.engine.origin,
            gpu=watched_gpu(),
        )
        self._batcher.on_batch = self.metrics.batch
        self._log = RequestLog()
        # What is there now stays: the garbage collector looks no further at it, which takes 60 ms in which nothing is
        # answered, and looks ten times less often for what requests leave behind, which is next to nothing.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10 * gc.get_threshold()[0], *gc.get_threshold()[1:])
        logger.info(
            "ready in %.1f s: %s on %s, input %s, batches of %d",
            time.monotonic() - started,
            self.detector.model_name,
            self.detector.engine.name,
            "x".join(map(str, self.detector.engine.get_input_shape())),
            self.detector.engine.get_batch_size(),
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
        job = Job(picture)
        rows = await self._batcher.run(job)
        assert job.picture is not None  # it has rows
        detections = self.detector.finish(job.picture, rows, confidence, kept)
        answer = Answer(detections, job.timing_ms(), job.started)
        self.metrics.answered(answer.timing_ms)
        return answer

    async def infer_row(self, tensor: NDArray[Any]) -> RowAnswer:
        """Runs one row of the network's input, in batches together with the pictures.

        Args:
            tensor: float32 or float16 `[3, height, width]`, RGB in 0…1.

        Raises:
            InvalidTensorError: Wrong dtype or shape.
            OverloadedError: The queue is full.
            DeadlineExceededError: It took longer than `timeout_s`.
            GpuLostError: The GPU is gone; Ray is about to replace this replica.
        """
        height, width = self.detector.engine.get_input_shape()
        # A picture of the network's own size: its letterbox changes nothing.
        job = Job(picture=PreparedPicture(Letterbox.fit(width, height, height, width), tensor))
        rows = await self._batcher.run(job)
        answer = RowAnswer(rows, job.timing_ms(), job.started)
        self.metrics.answered(answer.timing_ms)
        return answer

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
            self._batcher.decoders, _draw_jpeg, picture, self.detector.limits, answer.detections
        )
        try:
            jpeg = await asyncio.wait_for(drawing, self.settings.timeout_s - detect_ms / 1000)
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"no answer within {self.settings.timeout_s:g} s") from None
        draw_ms = round((time.perf_counter() - started) * 1000, 3)
        return jpeg, {**stages, "draw": draw_ms, "total": round(detect_ms + draw_ms, 3)}

    def request_over(self, record: RequestRecord) -> None:
        """Has a request that is over counted and logged."""
        self.metrics.request_over(record)
        self._log.write(record)

    def refuse_when_full(self) -> None:
        """Raises OverloadedError when `detect` would."""
        self._batcher.refuse_when_full()

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
        if hasattr(self, "_batcher"):
            self._batcher.close()
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
