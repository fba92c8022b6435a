"""Rectangles: how much pairs of boxes share, upright and oriented ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from azaion_engine.geometry import corners_of

_FLAT = 1e-6
"""Pixels over which an edge rises so little that its middle stands for it: a difference of integrals is less exact."""


def areas_of(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the areas of upright boxes `[n, 4]`, 0 for those whose edges are in the wrong order."""
    sides = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 0)
    areas: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return areas


def shared_areas(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the area that the two boxes of each pair share; both `[n, 4]` of x1, y1, x2, y2."""
    return areas_of(common(boxes, others))


def common(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the rectangle that the two boxes of each pair share; with edges in the wrong order if there is none."""
    return np.concatenate([np.maximum(boxes[:, :2], others[:, :2]), np.minimum(boxes[:, 2:], others[:, 2:])], axis=1)


def shared_oriented_areas(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the area that the two oriented boxes of each pair share, exactly.

    By Green's theorem the area of a polygon within a set is the sum over its edges of the integral of `f dx`, where f
    is the height of the set below the edge. Here the set is the other box, seen along its own axes from its corner: f
    is y, at least 0 and at most the box's height, for x within its width.

    Args:
        boxes: `[n, 5]`: centre x, centre y, width, height, angle.
        others: `[n, 5]`.

    Returns:
        float64 `[n]`.
    """
    own = np.asarray(others, np.float64)
    centre, width, height = own[:, None, :2], own[:, None, 2], own[:, None, 3]
    cos, sin = np.cos(own[:, None, 4]), np.sin(own[:, None, 4])
    apart = corners_of(boxes) - centre
    x = apart[..., 0] * cos + apart[..., 1] * sin + width / 2
    y = apart[..., 1] * cos - apart[..., 0] * sin + height / 2
    across, down = np.roll(x, -1, axis=1) - x, np.roll(y, -1, axis=1) - y
    with np.errstate(divide="ignore", invalid="ignore"):  # an upright edge has no dx
        slope = np.where(across == 0, 0, down / across)
    # The part of each edge that lies within the width.
    begin, end = np.clip(x, 0, width), np.clip(x + across, 0, width)
    top, bottom = y + slope * (begin - x), y + slope * (end - x)
    rise = bottom - top
    flat = np.abs(rise) < _FLAT
    mean = np.where(
        flat,
        np.clip((top + bottom) / 2, 0, height),
        (_integral(bottom, height) - _integral(top, height)) / np.where(flat, 1, rise),
    )
    areas: NDArray[np.float64] = np.abs((mean * (end - begin)).sum(axis=1))
    return areas


def _integral(y: NDArray[np.float64], height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the integral of `clip(t, 0, height)` for t from minus infinity to y."""
    inside = np.clip(y, 0, height)
    integral: NDArray[np.float64] = inside * inside / 2 + height * np.maximum(y - height, 0)
    return integral
