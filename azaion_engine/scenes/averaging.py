"""Averaging: a small picture of a whole scene without overviews, made of the windows while they are read anyway."""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.letterbox import PAD_VALUE
from azaion_engine.tiling.tile import Tile


class RunningAverage:
    """Averages a scene's pixels in cells of nearly equal size; thread-safe.

    A pixel that several windows show counts several times, which moves an average within one cell at most. Memory: 16
    bytes a cell, and there are fewer than twice as many cells across and down as the picture that is asked for has
    pixels.
    """

    def __init__(self, scene: tuple[int, int], size: tuple[int, int], scale: float = 1.0) -> None:
        """Begins without pixels.

        Args:
            scene: (height, width) of the scene, in pixels.
            size: (height, width) of the picture to make, in pixels, not larger than the scene.
            scale: Pixels of a part that `add` takes for one of the scene.
        """
        self._scene, self._size = scene, size
        height, width = (side * min(scale, 1.0) for side in scene)
        # Pixels of a cell, across and down; resampled ones differ slightly in size, and every cell must get one.
        pixels = max(1 if scale == 1 else 2, int(min(height / size[0], width / size[1])))
        self._cells = max(1, int(height / pixels)), max(1, int(width / pixels))
        self._sums = np.zeros((*self._cells, 3), np.uint32)
        self._counts = np.zeros(self._cells, np.uint32)
        self._lock = threading.Lock()

    def add(self, tile: Tile, pixels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> None:
        """Takes a part of the scene.

        Args:
            tile: Where it lies in the scene.
            pixels: uint8 `[height, width, 3]`, of any size: it may be resampled.
            valid: bool `[height, width]`: pixels that are part of the picture.
        """
        rows, down = self._cells_under(0, tile.y, tile.height, len(pixels))
        columns, across = self._cells_under(1, tile.x, tile.width, pixels.shape[1])
        if valid.all():
            counts = np.outer(np.diff(down, append=len(pixels)), np.diff(across, append=pixels.shape[1]))
        else:
            pixels = pixels * valid[..., None]
            counts = _sums(valid.view(np.uint8), down, across)
        sums = _sums(pixels, down, across)
        with self._lock:
            self._sums[rows, columns] += sums
            self._counts[rows, columns] += counts.astype(np.uint32)

    def part(self) -> bytes:
        """Returns what was added so far, for `add_part` of another average of the same scene and size.

        That is two int64, the first row of cells with pixels and the one after the last; then uint32 sums `[rows,
        columns, 3]` and counts `[rows, columns]`.
        """
        with self._lock:
            [seen] = self._counts.any(axis=1).nonzero()
            rows = slice(int(seen[0]), int(seen[-1]) + 1) if len(seen) else slice(0, 0)
            bounds = np.array([rows.start, rows.stop], np.int64)
            return b"".join(one.tobytes() for one in (bounds, self._sums[rows], self._counts[rows]))

    def add_part(self, part: bytes) -> None:
        """Adds what `part` returned."""
        first, last = np.frombuffer(part, np.int64, 2).tolist()
        values = np.frombuffer(part, np.uint32, offset=16)
        shape = last - first, self._cells[1]
        sums, counts = np.split(values, [3 * shape[0] * shape[1]])
        with self._lock:
            self._sums[first:last] += sums.reshape(*shape, 3)
            self._counts[first:last] += counts.reshape(shape)

    def picture(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Returns the whole scene, as `Scene.read` does: uint8 `[height, width, 3]`, and bool `[height, width]`.

        What no window has shown is no part of the picture.
        """
        with self._lock:
            counts = self._counts[..., None]
            means = (self._sums + counts // 2) // np.maximum(counts, 1)
        picture = means.astype(np.uint8)
        valid = self._counts > 0
        picture[~valid] = PAD_VALUE
        height, width = self._size
        if self._cells != self._size:
            picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            valid = cv2.resize(valid.view(np.uint8), (width, height), interpolation=cv2.INTER_AREA) > 0
        return picture, valid

    def _cells_under(self, axis: int, start: int, length: int, count: int) -> tuple[slice, NDArray[np.intp]]:
        """Returns the cells under `count` pixels of a part, and the first pixel of each."""
        middles = start + (np.arange(count) + 0.5) * (length / count)
        cells = (middles * self._cells[axis] / self._scene[axis]).astype(np.intp)
        return slice(int(cells[0]), int(cells[-1]) + 1), np.flatnonzero(np.diff(cells, prepend=-1))


def _sums(values: NDArray[np.uint8], down: NDArray[np.intp], across: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Returns the sums between bounds along both axes."""
    # A sum for each row of cells: three times as fast as reduceat along both axes.
    rows = np.stack([part.sum(axis=0, dtype=np.uint32) for part in np.split(values, down[1:])])
    sums: NDArray[np.uint32] = np.add.reduceat(rows, across, axis=1)
    return sums
