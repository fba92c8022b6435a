"""Detecting in scenes: windows are read, run and merged as a stream, so that memory holds only those in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.averaging import RunningAverage
from azaion_engine.scenes.resolution import check_metres, ground_sampling_distance, of_size
from azaion_engine.scenes.scene import Scene
from azaion_engine.settings import Tiles
from azaion_engine.tiling.grid import count_tiles, iterate_grid
from azaion_engine.tiling.merging import Merger
from azaion_engine.tiling.tile import Tile

MOST_TILES = 1 << 20
"""Maximum windows of a scene: 60,000 × 60,000 pixels in tiles of 640 with an overlap of 0.2 are 13,689."""
_MOST_SHRINK, _MOST_GROWTH = 1 / 256, 16.0
"""Bounds of the resampling to another ground sampling distance."""


@dataclass(frozen=True)
class SceneOptions:
    """What is wanted of a scene.

    Attributes:
        tiles: Size and overlap of the windows, in pixels after resampling, and how their boxes are merged; `auto` and
            `off` are the network's size. `max_tiles` does not apply: no more than the windows in flight are in memory.
        gsd: Metres per pixel to resample to, those that the model was trained at; None: the scene's own.
        scene_gsd: Metres per pixel of the scene; None: as the file says.
        min_metres: Boxes whose longer side is shorter are left out; None: none are.
        max_metres: Likewise, longer.
    """

    tiles: Tiles
    gsd: float | None = None
    scene_gsd: float | None = None
    min_metres: float | None = None
    max_metres: float | None = None

    def __post_init__(self) -> None:
        """Checks the lengths.

        Raises:
            InvalidParameterError: A length is not above 0, or the minimum is above the maximum.
        """
        check_metres(gsd=self.gsd, scene_gsd=self.scene_gsd, min_metres=self.min_metres, max_metres=self.max_metres)
        if self.min_metres is not None and self.max_metres is not None and self.min_metres > self.max_metres:
            raise InvalidParameterError(
                f"min_metres: expected at most max_metres, given {self.min_metres} and {self.max_metres}"
            )


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


class _EmptyTileError(PictureError):
    """A window has no pixel of the picture: the pipeline passes it by, as it does a bad picture."""


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
    The scene is also looked at as a whole, for objects larger than a window: in the internal overviews, else as an
    average of the windows, since nothing is read twice.

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
    metres = _metres(scene, options)
    scale = _scale(metres, options.gsd)
    network = detector.engine.get_input_shape()
    given = options.tiles.size
    sides = (given, given) if isinstance(given, int) else network
    window = max(1, round(sides[0] / scale)), max(1, round(sides[1] / scale))
    total = count_tiles(scene.height, scene.width, size=window, overlap=options.tiles.overlap)
    if total > MOST_TILES:
        raise InvalidParameterError(
            f"tiles: {total} windows of {window[1]}×{window[0]} pixels cover the scene of {scene.width}×{scene.height} "
            f"pixels; at most {MOST_TILES} are accepted: choose a larger size"
        )
    _check_pixels(detector, (min(window[0], scene.height) * scale, min(window[1], scene.width) * scale))
    whole: _Window | None = None
    average: RunningAverage | None = None
    everything = Tile(0, 0, scene.width, scene.height)
    if options.tiles.full_picture and total > 1:
        size = _shrunk(scene, network)
        if scene.overviews:
            whole = _Window(scene, everything, size)
        else:
            average = RunningAverage((scene.height, scene.width), size, scale)
    scene.stretch()  # measured once, before threads ask for it
    taken: deque[Tile] = deque()  # by the pipeline, not answered yet

    def windows() -> Iterator[_Window]:
        if whole is not None:
            taken.append(whole.tile)
            yield whole
        for tile in iterate_grid(scene.height, scene.width, size=window, overlap=options.tiles.overlap):
            taken.append(tile)
            out = max(1, round(tile.height * scale)), max(1, round(tile.width * scale))
            yield _Window(scene, tile, out, average)

    def detect(windows: Iterable[Callable[[], NDArray[np.uint8]]]) -> Iterator[Detections | PictureError]:
        return detector.detect_each(
            windows,
            threads=threads,
            confidence=confidence,
            classes=classes,
            iou=iou,
            max_detections=max_detections,
            tiles="off",  # the windows are cut already
        )

    def results() -> Iterator[Detections | PictureError]:
        yield from detect(windows())
        if average is not None:  # all windows are in it now
            taken.append(everything)
            yield from detect([partial(_averaged, average)])

    merger = Merger((scene.height, scene.width), options.tiles)
    ran = empty = 0
    damaged: list[tuple[Tile, PictureError]] = []
    total += whole is not None or average is not None
    for done, result in enumerate(results(), 1):
        tile = taken.popleft()
        if isinstance(result, _EmptyTileError):
            empty += 1
        elif isinstance(result, PictureError):
            damaged.append((tile, result))
        else:
            ran += 1
            merger.add(tile, scaled(result, tile))
        if progress is not None:
            progress(done, total)
    found = replace(merger.finish(), names=detector.names)
    if metres is not None:  # after merging: a part of an object is shorter than the object
        found = of_size(found, metres, options.min_metres, options.max_metres)
    return SceneResult(found, ran, empty, damaged)


class _Window:
    """A window as a function that reads it: a thread of the pipeline calls it."""

    def __init__(self, scene: Scene, tile: Tile, size: tuple[int, int], average: RunningAverage | None = None) -> None:
        """Reads nothing yet; `size` is (height, width) after resampling, `average` takes what is read."""
        self.tile = tile
        self._scene, self._size, self._average = scene, size, average

    def __call__(self) -> NDArray[np.uint8]:
        """Returns the pixels.

        Raises:
            PictureError: The window is damaged, or has no pixel of the picture.
        """
        if self._scene.is_absent(self.tile):
            raise _EmptyTileError("no data")
        pixels, valid = self._scene.read(self.tile, self._size)
        if self._average is not None:
            self._average.add(self.tile, pixels, valid)
        return _part_of_picture(pixels, valid)


def _averaged(average: RunningAverage) -> NDArray[np.uint8]:
    return _part_of_picture(*average.picture())


def _part_of_picture(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns the pixels.

    Raises:
        _EmptyTileError: None of them is valid.
    """
    if not valid.any():
        raise _EmptyTileError("no data")
    return pixels


def _shrunk(scene: Scene, network: tuple[int, int]) -> tuple[int, int]:
    """Returns (height, width) of the whole scene where it fits the network."""
    shrink = min(1.0, network[0] / scene.height, network[1] / scene.width)
    return max(1, round(scene.height * shrink)), max(1, round(scene.width * shrink))


def _metres(scene: Scene, options: SceneOptions) -> float | None:
    """Returns the scene's metres per pixel, if they are known.

    Raises:
        InvalidParameterError: They are needed and not known.
    """
    metres = options.scene_gsd
    if metres is None and scene.georeference is not None:
        metres = ground_sampling_distance(scene.georeference, scene.width, scene.height)
    asked = [name for name in ("gsd", "min_metres", "max_metres") if getattr(options, name) is not None]
    if metres is None and asked:
        raise InvalidParameterError(
            f"{', '.join(asked)}: the file does not say how many metres a pixel covers; give scene_gsd"
        )
    return metres


def _scale(metres: float | None, gsd: float | None) -> float:
    """Returns how many pixels of the network's picture one of the scene becomes."""
    if metres is None or gsd is None:
        return 1.0
    scale = metres / gsd
    if not _MOST_SHRINK <= scale <= _MOST_GROWTH:
        raise InvalidParameterError(
            f"gsd: from {metres:.4g} to {gsd:.4g} metres per pixel is a factor of {scale:.4g}; accepted are "
            f"{_MOST_SHRINK:.4g} to {_MOST_GROWTH:.4g}"
        )
    return scale


def _check_pixels(detector: Detector, window: tuple[float, float]) -> None:
    """Refuses windows of more pixels than a picture may have, as several are in memory.

    Raises:
        InvalidParameterError: The message names the bound.
    """
    height, width = window
    if height * width > detector.limits.max_pixels:
        raise InvalidParameterError(
            f"tiles: windows of {width:.0f}×{height:.0f} pixels are too large; at most {detector.limits.max_pixels} "
            "pixels are accepted (max_picture_pixels): choose a smaller size"
        )


def scaled(found: Detections, tile: Tile) -> Detections:
    """Returns boxes of a resampled window in pixels of the window as it lies in the scene."""
    across, down = tile.width / found.picture_width, tile.height / found.picture_height
    if across == down == 1:
        return found
    boxes = found.boxes * np.array([across, down, across, down], np.float32)
    oriented = found.oriented
    if oriented is not None:
        mean = (across * down) ** 0.5  # they differ by the rounding of the size only: a rectangle stays one
        oriented = oriented * np.array([across, down, mean, mean, 1], np.float32)
    keypoints = found.keypoints
    if keypoints is not None:
        keypoints = keypoints * np.array([across, down, 1], np.float32)
    return replace(
        found,
        boxes=boxes,
        oriented=oriented,
        keypoints=keypoints,
        picture_width=tile.width,
        picture_height=tile.height,
    )
