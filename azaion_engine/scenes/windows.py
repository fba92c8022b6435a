"""SceneWindows: a scene cut into windows of the network's size, and their boxes put together again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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
            InvalidParameterError: A length is not above 0.
        """
        check_metres(gsd=self.gsd, scene_gsd=self.scene_gsd, min_metres=self.min_metres, max_metres=self.max_metres)


class EmptyWindowError(PictureError):
    """A window has no pixel of the picture: the pipeline passes it by, as it does a bad picture."""


class SceneWindows:
    """The windows of a scene: which there are, what the network sees of each, and what becomes of their boxes.

    Attributes:
        scene: The scene, open.
        everything: The whole scene as a tile.
        total: Number of windows, without the whole scene as one more.
        size: (height, width) of a window, in pixels of the scene.
        whole: How the network sees the whole scene, too: in its `overviews`, as an `average` of all windows, since
            nothing is read twice; None: not at all.
    """

    def __init__(self, scene: Scene, options: SceneOptions, network: tuple[int, int], max_pixels: int) -> None:
        """Reads nothing.

        Args:
            scene: Open.
            options: Windows, resampling and sizes.
            network: (height, width) of the network's input, in pixels.
            max_pixels: Of a window after resampling, as several are in memory.

        Raises:
            InvalidParameterError: Metres are asked for and the scene's are not known, or the windows would be too many
                or too large.
        """
        self.scene = scene
        self.everything = Tile(0, 0, scene.width, scene.height)
        self._options, self._network = options, network
        self._metres = _metres(scene, options)
        self._scale = _scale(self._metres, options.gsd)
        given = options.tiles.size
        sides = (given, given) if isinstance(given, int) else network
        self.size = max(1, round(sides[0] / self._scale)), max(1, round(sides[1] / self._scale))
        self.total = count_tiles(scene.height, scene.width, size=self.size, overlap=options.tiles.overlap)
        if self.total > MOST_TILES:
            raise InvalidParameterError(
                f"tiles: {self.total} windows of {self.size[1]}×{self.size[0]} pixels cover the scene of "
                f"{scene.width}×{scene.height} pixels; at most {MOST_TILES} are accepted: choose a larger size"
            )
        height, width = (min(side, whole) for side, whole in zip(self.size, (scene.height, scene.width), strict=True))
        if height * width * self._scale**2 > max_pixels:
            raise InvalidParameterError(
                f"tiles: windows of {width * self._scale:.0f}×{height * self._scale:.0f} pixels are too large; at most "
                f"{max_pixels} pixels are accepted (max_picture_pixels): choose a smaller size"
            )
        self.whole: Literal["overviews", "average"] | None = None
        if options.tiles.full_picture and self.total > 1:
            self.whole = "overviews" if scene.overviews else "average"

    def tiles(self, start: int = 0, stop: int | None = None) -> Iterator[Tile]:
        """Yields the windows from one number to another, row by row."""
        height, width = self.scene.height, self.scene.width
        return islice(iterate_grid(height, width, size=self.size, overlap=self._options.tiles.overlap), start, stop)

    def resampled(self, tile: Tile) -> tuple[int, int]:
        """Returns (height, width) in pixels at which the network gets a window."""
        return max(1, round(tile.height * self._scale)), max(1, round(tile.width * self._scale))

    def read(self, tile: Tile, average: RunningAverage | None = None) -> NDArray[np.uint8]:
        """Returns the pixels of a window, resampled; thread-safe.

        Args:
            tile: The window.
            average: Takes them, too.

        Raises:
            PictureError: The window is damaged.
            EmptyWindowError: It has no pixel of the picture.
        """
        if self.scene.is_absent(tile):
            raise EmptyWindowError("no data")
        pixels, valid = self.scene.read(tile, self.resampled(tile))
        if average is not None:
            average.add(tile, pixels, valid)
        return _part_of_picture(pixels, valid)

    def average(self) -> RunningAverage | None:
        """Returns an average for `read` to fill, if `whole` is one."""
        if self.whole != "average":
            return None
        return RunningAverage((self.scene.height, self.scene.width), self._shrunk(), self._scale)

    def read_whole(self, average: RunningAverage | None = None) -> NDArray[np.uint8]:
        """Returns the whole scene where it fits the network.

        Args:
            average: One that all windows are in; None: the overviews are read.

        Raises:
            PictureError: It is damaged.
            EmptyWindowError: The scene has no pixel of a picture.
        """
        if average is not None:
            return _part_of_picture(*average.picture())
        return _part_of_picture(*self.scene.read(self.everything, self._shrunk()))

    def merger(self) -> Merger:
        """Returns what the boxes of the windows go to, in their order, those of the whole scene first or last."""
        return Merger((self.scene.height, self.scene.width), self._options.tiles)

    def finish(self, merger: Merger, names: Mapping[int, str]) -> Detections:
        """Returns the scene's boxes, in its pixels.

        Args:
            merger: Has the boxes of all windows.
            names: Class names by id.

        Raises:
            TooManyBoxesError: As `Merger.finish`.
        """
        found = replace(merger.finish(), names=names)
        if self._metres is None:
            return found
        # After merging: a part of an object is shorter than the object.
        return of_size(found, self._metres, self._options.min_metres, self._options.max_metres)

    def _shrunk(self) -> tuple[int, int]:
        """Returns (height, width) of the whole scene where it fits the network."""
        height, width = self.scene.height, self.scene.width
        shrink = min(1.0, self._network[0] / height, self._network[1] / width)
        return max(1, round(height * shrink)), max(1, round(width * shrink))


def _part_of_picture(pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Returns the pixels.

    Raises:
        EmptyWindowError: None of them is valid.
    """
    if not valid.any():
        raise EmptyWindowError("no data")
    return pixels


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
