"""DetectorService: runs single pictures in batches on one detector; independent of HTTP and gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import MissingDependencyError
from azaion_engine.files.geojson import geometries
from azaion_engine.parameters import check_confidence, check_suppression
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import ArrayPicture
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.locating import locate
from azaion_engine.scenes.raster import is_tiff
from azaion_engine.settings import Tiles
from azaion_engine.tiling.settings import TilesWish, tiles_of
from azaion_engine.tiling.tiled_picture import TiledPicture
from deployments.access.guard import Guard, current_admission
from deployments.answer import Answer, RowAnswer
from deployments.batching.batcher import Batcher
from deployments.batching.job import Job
from deployments.batching.tiled_run import TiledRun
from deployments.errors import DeadlineExceededError
from deployments.front import Front, open_front
from deployments.model_card import model_card
from deployments.reception import Reception
from deployments.settings import VERSION_DIGITS, ServiceSettings
from deployments.watching.stage_times import StageTimes

Converted = TypeVar("Converted")

_SMALL = 8 * 2**20
"""Bytes from which on work on a request or an answer counts in the budget of all decodes."""

_DRAWING_BYTES = 16
"""Bytes a pixel that drawing boxes and encoding the JPEG take: the drawn copies, BGR, and the JPEG itself."""


class DetectorService:
    """Owns one detector; used from one event loop, which never blocks on the engine.

    Attributes:
        settings: Limits and model.
        detector: Runs the model.
        front: What it has in common with the other services of its replica.
        version: The first digits of the model file's SHA-256; None without a file.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        detector: Detector,
        decode_threads: int,
        guard: Guard | None = None,
        front: Front | None = None,
    ) -> None:
        """Warms the engine up; requests can be answered when this returns.

        Args:
            settings: Limits and model.
            detector: Runs the model; the service closes it.
            decode_threads: Threads that decode pictures.
            guard: Keys and their limits; the service closes it.
            front: Of the other services of this replica, among them those of other versions of the model; default: an
                own one.
        """
        self.settings = settings
        self.detector = detector
        sha256 = detector.info.sha256 if detector.info else settings.model_sha256
        self.version = sha256[:VERSION_DIGITS] if sha256 else None
        self._batcher = Batcher(detector, settings.max_queue, settings.timeout_s, decode_threads)
        try:
            self._batcher.warm_up()
        except BaseException:
            self._batcher.close()
            raise
        self.front = front or open_front(
            settings, detector.engine.get_batch_size(), detector.decode_memory.limit, guard
        )
        self._metrics = self.front.metrics
        self._batcher.on_batch = partial(self._metrics.batch, detector.engine.name)
        self._metrics.opened(detector.engine.name, detector.engine.origin, self._depth)

    @property
    def reception(self) -> Reception:
        """What the requests pass first."""
        return self.front.reception

    async def detect(
        self,
        picture: bytes,
        confidence: float | None = None,
        classes: Collection[int | str] | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: TilesWish = None,
    ) -> Answer:
        """Finds the objects in one encoded picture.

        Args:
            picture: Encoded bytes, of a format of `ACCEPTED_FORMATS`.
            confidence: Threshold 0…1; default: from the settings.
            classes: Class ids or names to keep; default: all.
            iou: Overlap above which the less confident of two boxes is dropped, 0…1; default: the model's.
            max_detections: Maximum number of boxes, at least 1; default: from the settings, for each tile if it is cut.
            tiles: How a large picture is cut into tiles: `auto`, a size in pixels, `off`; default: from the settings.

        Raises:
            PictureError: The picture cannot be used; the rest of the batch is not affected.
            InvalidParameterError: Bad confidence, class or number, or the model leaves no IoU to choose.
            OverloadedError: The queue is full.
            ShareLimitError: The request's key has its share of the queue.
            OutOfMemoryError: Memory to decode the picture is lacking at the moment.
            DeadlineExceededError: It took longer than `timeout_s`.
            GpuLostError: The GPU or the engine's process is lost; another process, or another replica, follows.
        """
        check_confidence(confidence)
        if iou is not None or max_detections is not None:
            check_suppression(iou, max_detections)
            self.detector.selection(confidence, iou, max_detections)
        kept = self.detector.class_ids(classes) if classes is not None else None
        encoded = EncodedPicture(picture, self.detector.limits)
        wanted = tiles_of(tiles, self.detector.tiles)
        if wanted.enabled:
            tiled = await self._tiled(encoded, wanted)
            if tiled is not None:
                make_job = partial(Job, None, None, confidence, iou, max_detections)
                with self._admitted():
                    found, run = await self._batcher.run_tiled(tiled, make_job)
                found = found if max_detections is None else found.first(max_detections)
                self._keep(picture)
                return Answer(found if kept is None else found.filter(classes=kept), self._answered(run))
        job = Job(encoded, confidence=confidence, iou=iou, max_detections=max_detections)
        with self._admitted():
            await self._batcher.run(job)
        detections = job.detections
        assert detections is not None  # set, since there are rows
        self._keep(picture)
        return Answer(detections if kept is None else detections.filter(classes=kept), self._answered(job))

    async def _tiled(self, picture: EncodedPicture, tiles: Tiles) -> TiledPicture | None:
        """Reads a picture's header; returns None if it is not to be cut."""
        if picture.jpeg is not None and picture.jpeg.plain:  # takes microseconds
            opened = self.detector.tiled(picture, tiles)
        else:
            opened = await self.convert(self.detector.tiled, picture, tiles)
        return opened if opened.cut else None

    async def infer_row(self, tensor: NDArray[Any]) -> RowAnswer:
        """Runs one row of the network's input, in common batches with pictures.

        Args:
            tensor: float32 or float16 `[3, height, width]`, RGB in 0…1.

        Raises:
            InvalidTensorError: Wrong dtype or shape.
            OverloadedError: The queue is full.
            DeadlineExceededError: It took longer than `timeout_s`.
            GpuLostError: The GPU or the engine's process is lost; another process, or another replica, follows.
        """
        height, width = self.detector.engine.get_input_shape()
        # A picture of the network's own size: its letterbox changes nothing.
        job = Job(picture=ArrayPicture(Letterbox.fit(width, height, height, width), tensor))
        with self._admitted():
            rows = await self._batcher.run(job)
        return RowAnswer(rows, self._answered(job))

    async def draw(
        self,
        picture: bytes,
        confidence: float | None = None,
        classes: Collection[int | str] | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        tiles: TilesWish = None,
    ) -> tuple[bytes, dict[str, float]]:
        """Finds the objects in one encoded picture and draws them.

        The picture is decoded a second time: keeping the pixels of every waiting picture would take too much memory
        and slow `detect` down.

        Args:
            picture: As in `detect`, like the other arguments.
            confidence: Threshold 0…1.
            classes: Class ids or names to keep.
            iou: Overlap of two boxes, 0…1.
            max_detections: Maximum number of boxes.
            tiles: How a large picture is cut.

        Returns:
            The upright picture with its boxes as a JPEG, and the milliseconds of each stage, including `draw` (decode,
            draw and encode).

        Raises:
            AzaionError: As `detect`.
            PictureTooLargeError: A side is longer than a JPEG can hold.
        """
        answer = await self.detect(picture, confidence, classes, iou, max_detections, tiles)
        stages = answer.times.milliseconds()
        detect_ms = stages.pop("total")
        started = time.perf_counter()
        left_s = self.settings.timeout_s - detect_ms / 1000
        drawing = asyncio.get_running_loop().run_in_executor(
            self._batcher.decoders, _draw_jpeg, picture, self.detector, answer.detections, left_s
        )
        try:
            jpeg = await asyncio.wait_for(drawing, left_s)
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"no answer within {self.settings.timeout_s:g} s") from None
        draw_ms = round((time.perf_counter() - started) * 1000, 3)
        return jpeg, {**stages, "draw": draw_ms, "total": round(detect_ms + draw_ms, 3)}

    async def locate(self, picture: bytes, found: Detections) -> list[dict[str, Any] | None] | None:
        """Returns where the boxes of a GeoTIFF lie: a GeoJSON geometry in WGS84 for each, None for one without a place.

        Args:
            picture: As in `detect`. Its map's tags alone are read.
            found: What `detect` found in it.

        Returns:
            None for a picture without a map, and where the extra `geo` is not installed.
        """
        return await self.convert(_geometries, picture, found) if is_tiff(picture) else None

    async def convert(self, function: Callable[..., Converted], *arguments: Any, memory: int = 0) -> Converted:
        """Runs costly work on a request or an answer in the threads that decode pictures.

        Args:
            function: Its errors are raised here.
            *arguments: Its arguments.
            memory: Bytes that it takes at most; a large number is out of the budget of all decodes.

        Raises:
            PictureTooLargeError: More memory than the whole budget.
            OutOfMemoryError: Others held the budget for `timeout_s`.
        """

        def convert() -> Converted:
            if memory < _SMALL:  # needs not wait for large pictures
                return function(*arguments)
            with self.detector.decode_memory.hold(memory, self.settings.timeout_s):
                return function(*arguments)

        return await asyncio.get_running_loop().run_in_executor(self._batcher.decoders, convert)

    def describe(self) -> dict[str, Any]:
        """Returns the model card, as `model_card` describes it."""
        return model_card(self.detector, self.settings, self.version)

    def refuse_when_full(self) -> None:
        """Raises OverloadedError if the queue is full."""
        self._batcher.refuse_when_full()

    def check_health(self) -> None:
        """Raises an AzaionError if the engine can never run again; does not wait for a running batch."""
        self.detector.engine.check_health()

    def check_ready(self) -> None:
        """Raises an AzaionError if the engine would not run now, but perhaps soon again."""
        self.detector.engine.check_ready()

    def _depth(self) -> int:
        return self._batcher.depth

    def close(self) -> None:
        """Closes everything, also what the services beside it use."""
        self.front.close()
        self.retire()

    def retire(self) -> None:
        """Ends the threads after the running batches, and closes the detector; the services beside it go on."""
        self._metrics.closed(self._depth)
        self._batcher.close()
        self.detector.close()

    def _admitted(self) -> AbstractContextManager[object]:
        """Counts one picture of the request's key while it is worked on; tiled pictures are one, too."""
        admission = current_admission.get()
        return nullcontext() if admission is None else admission.picture()

    def _keep(self, picture: bytes) -> None:
        if self.front.recent is not None:
            self.front.recent.add(picture)

    def _answered(self, job: Job | TiledRun) -> StageTimes:
        times = job.times()
        self._metrics.answered(times, self.version)
        return times


def _geometries(picture: bytes, found: Detections) -> list[dict[str, Any] | None] | None:
    try:
        georeference = locate(picture)
    except MissingDependencyError:
        return None
    return None if georeference is None else geometries(found, georeference)


def _draw_jpeg(picture: bytes, detector: Detector, found: Detections, timeout_s: float) -> bytes:
    encoded = EncodedPicture(picture, detector.limits)
    needed = encoded.decoding_bytes() + _DRAWING_BYTES * found.picture_width * found.picture_height
    with detector.decode_memory.hold(needed, timeout_s, encoded.forget):
        return encode_jpeg(found.draw(encoded.decode()))
