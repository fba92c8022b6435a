"""Found: boxes of several tiles, in pixels of the picture."""

from __future__ import annotations

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
    def of_tile(cls, tile: Tile, found: Detections, picture: tuple[int, int]) -> Found:
        """Moves a tile's boxes to where they are in the picture."""
        height, width = picture
        edges = np.array([tile.x, tile.y, tile.right, tile.bottom], np.float32)
        boxes = found.boxes + edges[[0, 1, 0, 1]]
        inner = np.array([tile.x > 0, tile.y > 0, tile.right < width, tile.bottom < height])
        near = np.maximum(np.array([tile.width, tile.height] * 2) * TOUCHES, 1)
        oriented = np.zeros((len(found), 0), np.float32)
        if found.oriented is not None:
            oriented = found.oriented + np.array([tile.x, tile.y, 0, 0, 0], np.float32)
        keypoints = np.zeros((len(found), 0, 3), np.float32)
        if found.keypoints is not None:
            keypoints = found.keypoints + np.array([tile.x, tile.y, 0], np.float32)
        return cls(
            boxes,
            found.confidences,
            found.class_ids,
            np.broadcast_to(edges, (len(found), 4)),
            ((np.abs(boxes - edges) <= near) & inner).any(axis=1),
            np.full(len(found), not inner.any()),
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
