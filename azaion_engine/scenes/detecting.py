"""Detecting in scenes: windows are read, run and merged as a stream, so that memory holds only those in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import PictureError
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import EmptyWindowError, SceneOptions, SceneWindows, scaled
from azaion_engine.tiling.tile import Tile


@dataclass(frozen=True)
class SceneResult:
    """What was found in a scene.

    Attributes:
        found: The boxes, in pixels of the scene.
        tiles: Number of windows that the network saw.
        empty: Number of windows without a pixel of the picture; they were not run.
        damaged: Windows that cannot be read, with the reason; there are no boxes of theirs.
    """

    found: Detections
    tiles: int
    empty: int
    damaged: list[tuple[Tile, PictureError]] = field(default_factory=list)


def detect_scene(
    detector: Detector,
    scene: Scene,
    options: SceneOptions,
    *,
    threads: int = 2,
    confidence: float | None = None,
    classes: Collection[int] | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SceneResult:
    """Finds the objects in a scene of any size.

    The memory needed is that of the windows in flight, some batches of them, of GDAL's cache and of the boxes.
    The scene is also looked at as a whole, for objects larger than a window.

    Args:
        detector: Runs the network.
        scene: Open.
        options: Windows, resampling and sizes.
        threads: Threads that prepare windows.
        confidence: Threshold, 0…1; default: the detector's own.
        classes: Class ids to keep; default: all.
        iou: Overlap within a window, as in `Detector.detect`.
        max_detections: Largest number of boxes of a window, likewise; a scene's number has no bound.
        progress: Called after each window with the number of windows done and of all.

    Raises:
        InvalidParameterError: Metres are asked for and the scene's are not known, or the windows would be too many or
            too large.
        UndecodablePictureError: The sample on which the stretch is measured is damaged.
        AzaionError: The engine failed.
    """
    windows = SceneWindows(scene, options, detector.engine.get_input_shape(), detector.limits.max_pixels)
    average = windows.average()
    scene.stretch()  # measured once, before threads ask for it
    taken: deque[Tile] = deque()  # by the pipeline, not answered yet

    def reads() -> Iterator[Callable[[], NDArray[np.uint8]]]:
        if windows.whole == "overviews":
            taken.append(windows.everything)
            yield windows.read_whole
        for tile in windows.tiles():
            taken.append(tile)
            yield partial(windows.read, tile, average)

    def detect(reads: Iterable[Callable[[], NDArray[np.uint8]]]) -> Iterator[Detections | PictureError]:
        return detector.detect_each(
            reads,
            threads=threads,
            confidence=confidence,
            classes=classes,
            iou=iou,
            max_detections=max_detections,
            tiles="off",  # the windows are cut already
        )

    def results() -> Iterator[Detections | PictureError]:
        yield from detect(reads())
        if average is not None:  # all windows are in it now
            taken.append(windows.everything)
            yield from detect([partial(windows.read_whole, average)])

    merger = windows.merger()
    ran = empty = 0
    damaged: list[tuple[Tile, PictureError]] = []
    total = windows.total + (windows.whole is not None)
    for done, result in enumerate(results(), 1):
        tile = taken.popleft()
        if isinstance(result, EmptyWindowError):
            empty += 1
        elif isinstance(result, PictureError):
            damaged.append((tile, result))
        else:
            ran += 1
            merger.add(tile, scaled(result, tile))
        if progress is not None:
            progress(done, total)
    return SceneResult(windows.finish(merger, detector.names), ran, empty, damaged)
