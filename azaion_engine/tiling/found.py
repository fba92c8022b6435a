"""Found: boxes of several tiles, in pixels of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.results.detections import Detections
from azaion_engine.tiling.tile import Tile

TOUCHES = 1 / 256
"""Share of a tile's side, at least one pixel, within which a box touches a border: networks miss it by 1 or 2 pixels
of their input."""


@dataclass(frozen=True, eq=False)
class Found:
    """Boxes of several tiles, in pixels of the picture; arrays of one length.

    Attributes:
        boxes: float32 `[n, 4]`.
        confidences: float32 `[n]`.
        class_ids: int64 `[n]`.
        tiles: float32 `[n, 4]`: x1, y1, x2, y2 of each box's tile.
        cut: bool `[n]`: it touches an inner border of its tile.
        coarse: bool `[n]`: its tile is the whole picture, which the network saw shrunk.
        oriented: float32 `[n, 5]`, or `[n, 0]` for upright boxes.
        keypoints: float32 `[n, count, 3]`; count is 0 for boxes without.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    tiles: NDArray[np.float32]
    cut: NDArray[np.bool_]
    coarse: NDArray[np.bool_]
    oriented: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    @classmethod
    def of_tiles(cls, parts: Sequence[tuple[Tile, Detections]], picture: tuple[int, int]) -> Found:
        """Moves the boxes of tiles to where they are in the picture.

        All tiles at once: arrays of one tile are so short that NumPy's calls would cost more than their work.

        Args:
            parts: At least one tile, each with its boxes, in pixels of the tile.
            picture: (height, width) in pixels.
        """
        height, width = picture
        given = [found for _, found in parts]
        edges = np.array([(tile.x, tile.y, tile.right, tile.bottom) for tile, _ in parts], np.float32)
        tiles = np.repeat(edges, [len(found) for found in given], axis=0)
        corners = tiles[:, :2]
        boxes = np.concatenate([found.boxes for found in given]) + np.tile(corners, 2)
        inner = tiles != np.array([0, 0, width, height], np.float32)
        near = np.maximum(np.tile(tiles[:, 2:] - corners, 2) * TOUCHES, 1)
        oriented, keypoints = np.zeros((len(tiles), 0), np.float32), np.zeros((len(tiles), 0, 3), np.float32)
        if given[0].oriented is not None:
            oriented = np.concatenate([found.oriented for found in given if found.oriented is not None])
            oriented[:, :2] += corners
        if given[0].keypoints is not None:
            keypoints = np.concatenate([found.keypoints for found in given if found.keypoints is not None])
            keypoints[:, :, :2] += corners[:, None]
        return cls(
            boxes,
            np.concatenate([found.confidences for found in given]),
            np.concatenate([found.class_ids for found in given]),
            tiles,
            ((np.abs(boxes - tiles) <= near) & inner).any(axis=1),
            ~inner.any(axis=1),
            oriented,
            keypoints,
        )

    @classmethod
    def together(cls, parts: list[Found]) -> Found:
        """Joins several; there is at least one."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(cls)))

    def only(self, which: NDArray[Any]) -> Found:
        """Returns those that an index of arrays chooses."""
        return Found(*(getattr(self, field.name)[which] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.boxes)
