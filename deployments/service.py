"""DetectorService: answers single pictures with one detector, in batches; it knows no HTTP and no gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector, check_confidence
from azaion_engine.pictures.codec import decode, encode_jpeg
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import ArrayPicture
from azaion_engine.results.detections import Detections
from deployments.batching.batcher import Batcher
from deployments.batching.job import Job
from deployments.batching.places import Places
from deployments.errors import DeadlineExceededError
from deployments.settings import ServiceSettings
from deployments.watching.log import RequestLog
from deployments.watching.metrics import ServiceMetrics, watched_gpu
from deployments.watching.record import RequestRecord
from deployments.watching.stage_times import StageTimes


class Answer(NamedTuple):
    """What was found in one picture.

    Attributes:
        detections: The boxes, in pixels of the picture.
        times: How long each stage took.
    """

    detections: Detections
    times: StageTimes


class RowAnswer(NamedTuple):
    """What the network gave for one row of its input.

    Attributes:
        rows: float32 `[k, 6]`, in pixels of the network input.
        times: How long each stage took.
    """

    rows: NDArray[np.float32]
    times: StageTimes


class DetectorService:
    """Owns one detector; used from one event loop, which never waits for the engine.

    Attributes:
        settings: As given.
        detector: On the engine.
        bodies: One place for each request whose body is arriving.
    """

    def __init__(self, settings: ServiceSettings, detector: Detector, decode_threads: int) -> None:
        """Warms the engine up; requests can be answered when this returns.

        Args:
            settings: Limits and model.
            detector: The service closes it.
            decode_threads: Threads that decode pictures.
        """
        self.settings = settings
        self.detector = detector
        self._batcher = Batcher(detector, settings.max_queue, settings.timeout_s, decode_threads)
        self.bodies = Places(settings.bodies_at_once, f"{settings.bodies_at_once} bodies are arriving at the moment")
        self._batcher.warm_up()
        self._metrics = ServiceMetrics(
            batch_size=detector.engine.get_batch_size(),
            max_queue=settings.max_queue,
            queue_depth=lambda: self._batcher.depth,
            engine_name=detector.engine.name,
            engine_origin=detector.engine.origin,
            gpu=watched_gpu(),
        )
        self._batcher.on_batch = self._metrics.batch
        self._log = RequestLog()

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
        job = Job(EncodedPicture(picture, self.detector.limits))
        rows = await self._batcher.run(job)
        assert job.picture is not None  # it has rows
        detections = self.detector.finish(job.picture, rows, confidence, kept)
        return Answer(detections, self._answered(job))

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
        job = Job(picture=ArrayPicture(Letterbox.fit(width, height, height, width), tensor))
        rows = await self._batcher.run(job)
        return RowAnswer(rows, self._answered(job))

    async def draw(
        self, picture: bytes, confidence: float | None = None, classes: Collection[int | str] | None = None
    ) -> tuple[bytes, dict[str, float]]:
        """Finds the objects in one encoded picture and draws them.

        The picture is decoded a second time: keeping the pixels of every picture that waits for the engine would take
        far more memory than this takes time, and `detect` stays as quick as it is.

        Args:
            picture: As for `detect`, as are the others.
            confidence: Threshold 0…1.
            classes: Class ids or names to keep.

        Returns:
            The upright picture with its boxes as a JPEG, and the milliseconds of each stage, `draw` (decode, draw and
            encode) among them.

        Raises:
            AzaionError: What `detect` raises.
            PictureTooLargeError: A side is longer than a JPEG can hold.
        """
        answer = await self.detect(picture, confidence, classes)
        stages = answer.times.milliseconds()
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

    def refuse_when_full(self) -> None:
        """Raises OverloadedError when `detect` would."""
        self._batcher.refuse_when_full()

    def check_health(self) -> None:
        """Raises an AzaionError when the engine can never answer again; never waits behind a batch."""
        self.detector.engine.check_health()

    def request_over(self, record: RequestRecord) -> None:
        """Has a request that is over counted and logged."""
        self._metrics.request_over(record)
        self._log.write(record)

    def close(self) -> None:
        """Ends the threads after the batches that run, and closes the detector."""
        self._metrics.close()
        self._batcher.close()
        self.detector.close()

    def _answered(self, job: Job) -> StageTimes:
        times = job.times()
        self._metrics.answered(times)
        return times


def _draw_jpeg(picture: bytes, limits: PictureLimits, found: Detections) -> bytes:
    return encode_jpeg(found.draw(decode(picture, limits)))
