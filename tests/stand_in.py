"""Stand-in engines of known speed, and pictures whose grey values they understand."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from azaion_engine.detector import Detector
from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.errors import GpuLostError, UndecodablePictureError
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.prepared import HeldPicture, JpegPicture, LoadablePicture, PictureForm, PixelPicture
from deployments.answer import Answer
from deployments.settings import ServiceSettings

POISON, LOST, BROKEN = 250, 240, 230
"""Grey values of pictures that make the engine fail, lose the GPU, or refuse to decode."""
BATCH_SIZE, PICTURES_RUN = 1_000, 100_000
"""Added to the classes of two faint boxes in which the stand-in reports on itself (`engine_report`)."""
HOLDS, HELD = 200_000, 300_000
"""Likewise for one that holds pictures: the number of all it has held, and of those it holds now."""


class StandInEngine(InferenceEngine):
    """Takes 20 ms for any batch of up to 16, and answers each picture with its grey value."""

    def __init__(self, *, batch_size: int = 16, seconds: float = 0.02) -> None:
        super().__init__()
        self._batch_size = batch_size
        self._seconds = seconds
        self._lost = False
        self._pictures_run = 0

    @property
    def name(self) -> str:
        return f"stand-in of process {os.getpid()}"

    def get_input_shape(self) -> tuple[int, int]:
        return (32, 32)

    def get_batch_size(self) -> int:
        return self._batch_size

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        with self._lock:
            InferenceEngine.check_health(self)
            parts = [self._run_batch(data[i : i + self._batch_size]) for i in range(0, len(data), self._batch_size)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run_batch(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        end = time.perf_counter() + self._seconds
        self._pictures_run += len(rows)
        grey = np.rint(rows[:, 0, 16, 16] * 255).astype(int)
        if LOST in grey:
            self._lost = True
        if self._lost:
            raise GpuLostError("the stand-in lost its GPU")
        if POISON in grey:
            time.sleep(self._seconds)
            raise RuntimeError("poisoned batch")
        found = np.zeros((len(rows), 300, 6), np.float32)
        # One box whose class is the picture's grey value: tests notice an answer to the wrong caller.
        found[:, 0] = np.stack([[4, 8, 20, 24, 0.9, value] for value in grey])
        # Below the usual confidence: the size of the batch, and the number of pictures run so far.
        found[:, 1] = [0, 0, 8, 8, 0.1, BATCH_SIZE + len(rows)]
        found[:, 2] = [0, 0, 8, 8, 0.09, PICTURES_RUN + self._pictures_run]
        wait_until(end)
        return [found]

    def check_health(self) -> None:
        super().check_health()
        if self._lost:
            raise GpuLostError("the stand-in lost its GPU")

    def _release(self) -> None:
        pass


class TwoLaneStandInEngine(StandInEngine):
    """Takes pixels as a GPU does, runs two batches at a time, and cannot decode pictures of `BROKEN`."""

    lanes = 2

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._now, self._most = 0, 0
        self._counting = threading.Lock()

    def open_pictures(self) -> PictureForm:
        return PictureForm.PIXELS

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> list[Found]:
        with self._counting:
            self._now += 1
            self._most = max(self._most, self._now)
        pixels = [picture.pixels for picture in pictures if isinstance(picture, PixelPicture)]
        [found] = self._run_batch(np.stack(pixels).transpose(0, 3, 1, 2) / np.float32(255))
        with self._counting:
            self._now -= 1
            # In the place of the number of pictures run: the most batches that ran at a time.
            found[:, 2, 5] = PICTURES_RUN + self._most
        broken = UndecodablePictureError("the JPEG is damaged")
        return [broken if row[0, 5] == BROKEN else row for row in found]


class HoldingStandInEngine(TwoLaneStandInEngine):
    """Takes JPEGs and tiles of them as a GPU does; reports on the pictures it holds instead of on batches."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.held: dict[int, NDArray[np.uint8]] = {}
        self.holds = 0

    def open_pictures(self) -> PictureForm:
        return PictureForm.JPEG

    def hold(self, picture: JpegPicture) -> HeldPicture | None:
        pixels = decode(bytes(picture.jpeg))  # upright
        self.holds += 1
        self.held[self.holds] = pixels
        number = self.holds
        return HeldPicture(number, lambda: self.held.pop(number, None))

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> list[Found]:
        found = super()._run_loadable([self._letterboxed(picture) for picture in pictures])
        for rows in found:
            if not isinstance(rows, Exception):
                rows[1, 5], rows[2, 5] = HOLDS + self.holds, HELD + len(self.held)
        return found

    def _letterboxed(self, picture: LoadablePicture) -> PixelPicture:
        if isinstance(picture, PixelPicture):
            return picture
        if isinstance(picture, JpegPicture):
            pixels = decode(bytes(picture.jpeg))
        else:
            tile = picture.tile
            pixels = self.held[tile.number][tile.y : tile.y + tile.height, tile.x : tile.x + tile.width]
        return PixelPicture(picture.letterbox, picture.letterbox.apply(pixels))


def open_holding(settings: ServiceSettings, seconds: float = 0.02) -> Detector:
    engine = HoldingStandInEngine(batch_size=settings.batch_size or 16, seconds=seconds)
    return Detector(engine, model_name="stand-in", tiles=settings.tiles)


def open_slow_holding(settings: ServiceSettings) -> Detector:
    return open_holding(settings, seconds=0.15)


def open_two_lanes(settings: ServiceSettings) -> Detector:
    return Detector(TwoLaneStandInEngine(batch_size=settings.batch_size or 16, seconds=0.5), model_name="stand-in")


def open_shared_two_lanes(settings: ServiceSettings) -> Detector:
    """Opens as `Detector.open(shared=True)` does: the replicas of one GPU share a stand-in in a host process."""
    opener = partial(TwoLaneStandInEngine, batch_size=settings.batch_size or 16)
    key = f"stand-in for GPU {os.environ.get('CUDA_VISIBLE_DEVICES')} of process {os.getppid()}"
    return Detector(SharedEngine.open(lambda: opener, key), model_name="stand-in")


def wait_until(end: float) -> None:
    """Returns at `end`, in `time.perf_counter` seconds; a plain sleep ends later than an engine would."""
    time.sleep(max(0.0, end - time.perf_counter() - 0.0003))
    while time.perf_counter() < end:
        time.sleep(0)


def open_stand_in(settings: ServiceSettings, seconds: float = 0.02) -> Detector:
    engine = StandInEngine(batch_size=settings.batch_size or 16, seconds=seconds)
    limits = PictureLimits(settings.max_picture_bytes, settings.max_picture_pixels)
    return Detector(
        engine, model_name="stand-in", limits=limits, decode_bytes=settings.max_decode_bytes, tiles=settings.tiles
    )


def open_steady_stand_in(settings: ServiceSettings) -> Detector:
    """Opens one so slow that callers on a busy machine ask again before the batch ends."""
    return open_stand_in(settings, seconds=0.2)


def open_slow_stand_in(settings: ServiceSettings) -> Detector:
    return open_stand_in(settings, seconds=1.0)


def open_very_slow_stand_in(settings: ServiceSettings) -> Detector:
    """Opens one so slow that several steps of a test fit into one batch, even on a busy machine."""
    return open_stand_in(settings, seconds=2.0)


def open_teller_of_threads(settings: ServiceSettings) -> Detector:
    """Opens one whose model is named after the number of threads in its settings."""
    return Detector(StandInEngine(), model_name=f"{settings.threads} threads")


def engine_report(answer: Answer) -> tuple[int, int]:
    """Returns (size of this answer's batch, pictures run so far); ask with confidence 0.05."""
    classes = answer.detections.class_ids.tolist()
    return classes[1] - BATCH_SIZE, classes[2] - PICTURES_RUN


def grey_picture(value: int, kind: str = "PNG", size: int = 32) -> bytes:
    """Encodes a square picture of one grey value, without loss."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(buffer, kind)
    return buffer.getvalue()
