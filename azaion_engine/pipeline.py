"""find_objects: many pictures through one detector, decoded in threads, run in the engine's batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import PictureError
from azaion_engine.files.sources import Item
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.prepared import PreparedPicture
from azaion_engine.results.detections import Detections


@dataclass(frozen=True)
class Found:
    """What came of one picture.

    Attributes:
        item: The picture.
        detections: Its boxes.
        pixels: uint8 RGB `[height, width, 3]`, where they were asked for.
    """

    item: Item
    detections: Detections
    pixels: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Failed:
    """A picture that could not be used, and why."""

    item: Item
    error: PictureError


@dataclass(frozen=True)
class _Prepared:
    item: Item
    picture: PreparedPicture
    pixels: NDArray[np.uint8] | None


def find_objects(
    detector: Detector,
    items: Iterable[Item],
    threads: int,
    *,
    confidence: float | None = None,
    classes: Collection[int] | None = None,
    keep_pixels: bool = False,
) -> Iterator[Found | Failed]:
    """Yields what was found in each picture, in order; a bad picture is reported and stops nothing.

    While the engine runs as many batches as it has lanes, threads decode the next; no more than that is held in memory.

    Args:
        detector: The open detector.
        items: The pictures; consumed as they are needed.
        threads: Threads that decode.
        confidence: Threshold, 0…1; default: the detector's own.
        classes: Class ids to keep; default: all.
        keep_pixels: Whether the decoded pictures are wanted back.
    """
    batch, lanes = detector.engine.get_batch_size(), detector.engine.lanes

    def run(held: list[_Prepared | Failed]) -> list[Found | Failed]:
        good = [one for one in held if isinstance(one, _Prepared)]
        rows = iter(detector.infer([one.picture for one in good]) if good else ())
        results: list[Found | Failed] = []
        for one in held:
            if isinstance(one, Failed):
                results.append(one)
            elif isinstance(found := next(rows), PictureError):
                results.append(Failed(one.item, found))
            else:
                boxes = detector.finish(one.picture, found, confidence, classes)
                results.append(Found(one.item, boxes, one.pixels))
        return results

    decoders, runners = ThreadPoolExecutor(threads, "decode"), ThreadPoolExecutor(lanes, "engine")
    running: deque[Future[list[Found | Failed]]] = deque()
    held: list[_Prepared | Failed] = []
    try:
        for prepared in _in_order(decoders, detector, items, batch + threads, keep_pixels):
            held.append(prepared)
            if sum(isinstance(one, _Prepared) for one in held) == batch:
                running.append(runners.submit(run, held))
                held = []
                if len(running) > lanes:
                    yield from running.popleft().result()
        running.append(runners.submit(run, held))
        while running:
            yield from running.popleft().result()
    finally:
        decoders.shutdown(cancel_futures=True)
        runners.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, detector: Detector, items: Iterable[Item], ahead: int, keep_pixels: bool
) -> Iterator[_Prepared | Failed]:
    waiting: deque[Future[_Prepared | Failed]] = deque()
    for item in items:
        waiting.append(pool.submit(_prepare, detector, item, keep_pixels))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _prepare(detector: Detector, item: Item, keep_pixels: bool) -> _Prepared | Failed:
    try:
        picture = item.load()
        if keep_pixels and isinstance(picture, bytes):
            picture = decode(picture, detector.limits)
        pixels = picture if keep_pixels and not isinstance(picture, bytes) else None
        return _Prepared(item, detector.prepare(picture), pixels)
    except PictureError as error:
        return Failed(item, error)
