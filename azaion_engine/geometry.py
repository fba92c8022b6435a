"""Geometry of oriented boxes: centre x, centre y, width, height, angle.

The angle is that of the box's width against the x axis, in radians, positive clockwise as one sees it, because y
points down. This is Ultralytics' convention (`xywhr`, docs.ultralytics.com/datasets/obb). A rectangle has several such
forms: its angle may change by π, and by π/2 if width and height are exchanged. Answers keep width and height as the
network gives them and have the angle in `[-π/4, 3π/4)`, the range of Ultralytics' models up to YOLO11 and of labels;
of YOLO26's angles, which have no bounds, multiples of π are taken away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST, _MOST = -np.pi / 4, 3 * np.pi / 4
_ROUNDING = 1e-6

_SIDES = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
"""Corners of the unit square: upper left, upper right, lower right, lower left."""


def corners_of(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the corners of oriented boxes.

    Args:
        boxes: `[n, 5]`: centre x, centre y, width, height, angle.

    Returns:
        float64 `[n, 4, 2]` of x, y: those that lie upper left, upper right, lower right and lower left at angle 0, so
        they go round clockwise as one sees it, and from the first to the second is the width.
    """
    x, y, width, height, angle = np.asarray(boxes, np.float64).reshape(-1, 5).T[:, :, None]
    cos, sin = np.cos(angle), np.sin(angle)
    along, across = _SIDES[:, 0] * width, _SIDES[:, 1] * height
    return np.stack([x + along * cos - across * sin, y + along * sin + across * cos], axis=2)


def enclosing(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the upright boxes around corners `[n, 4, 2]`: `[n, 4]` of x1, y1, x2, y2."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def in_range(angles: NDArray[Any]) -> NDArray[Any]:
    """Returns the angles less multiples of π, in `[-π/4, 3π/4)`; those that are in it stay to the last bit."""
    outside = (angles < _LEAST - _ROUNDING) | (angles > _MOST + _ROUNDING)
    return np.where(outside, (angles - _LEAST) % np.pi + _LEAST, angles)


def largest_corner_difference(boxes: NDArray[Any], box: NDArray[Any]) -> NDArray[np.float64]:
    """Returns how far the corners of oriented boxes are from those of one box, whatever form each box has.

    Args:
        boxes: `[n, 5]`.
        box: `[5]`.

    Returns:
        float64 `[n]`: largest difference of a coordinate, for the pairing of corners that makes it smallest.
    """
    [expected] = corners_of(box[None])
    turned = np.stack([np.roll(expected, by, axis=0) for by in range(4)])
    differences: NDArray[np.float64] = np.abs(corners_of(boxes)[:, None] - turned).max(axis=(2, 3)).min(axis=1)
    return differences
