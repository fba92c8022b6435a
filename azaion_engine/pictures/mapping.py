"""Mapping: boxes and keypoints from the network input back onto their pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.geometry import corners_of, enclosing, in_range


def columns_to_pictures(columns: NDArray[Any], steps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Maps boxes of several pictures from the network input back onto their pictures and clips them to these.

    Args:
        columns: `[4, n]`: x1, y1, x2, y2 of each box, in pixels of the network input.
        steps: Of each box's picture, from `letterbox.steps_of`.

    Returns:
        float32 `[4, n]` in pixels of the upright pictures, a new array.
    """
    padding, scales, size = steps
    inside: NDArray[np.float64] = (np.asarray(columns, np.float64) - padding) / scales
    # Not np.clip: for few boxes its overhead exceeds all other work here.
    np.minimum(np.maximum(inside, 0, out=inside), size, out=inside)
    return inside.astype(np.float32)


def oriented_to_pictures(
    columns: NDArray[Any], steps: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps oriented boxes of several pictures from the network input back onto their pictures.

    Equals Ultralytics' `scale_boxes`: the centre is mapped as the corners of upright boxes are, the width is divided by
    the horizontal scale, the height by the vertical one, and the angle stays. That is exact where both scales are
    equal; rounding to whole pixels makes them differ by up to half a pixel over a side of the picture. With `stretch` a
    turned rectangle is none in the picture, and that fit is refused for oriented boxes.

    Args:
        columns: `[5, n]`: centre x, centre y, width, height of each box in pixels of the network input, and its angle
            in radians. A width or height below 0 stands for the same rectangle as one above 0.
        steps: Of each box's picture, from `letterbox.steps_of`.

    Returns:
        float32 `[5, n]`: the same in pixels of the upright pictures, not clipped, the angle in `geometry`'s range; and
        float32 `[4, n]`: x1, y1, x2, y2 of the upright boxes around them, clipped to the pictures.
    """
    padding, scales, size = steps
    columns = np.asarray(columns, np.float64)
    centres = (columns[:2] - padding[:2]) / scales[:2]
    sizes = np.abs(columns[2:4]) / scales[2:]
    oriented = np.concatenate([centres, sizes, in_range(columns[4:])])
    boxes = enclosing(corners_of(oriented.T)).T
    np.minimum(np.maximum(boxes, 0, out=boxes), size, out=boxes)
    return oriented.astype(np.float32), boxes.astype(np.float32)


def keypoints_to_pictures(columns: NDArray[Any], steps: NDArray[np.float64]) -> NDArray[np.float32]:
    """Maps keypoints of several pictures from the network input back onto their pictures and clips them to these.

    Equals Ultralytics' `scale_coords`, which clips, too.

    Args:
        columns: `[3 * count, n]`: x, y in pixels of the network input and visibility of each keypoint of each box.
        steps: Of each box's picture, from `letterbox.steps_of`.

    Returns:
        float32 `[n, count, 3]`: x, y in pixels of the upright pictures, and the visibility as given.
    """
    padding, scales, size = steps
    points = np.asarray(columns, np.float64).reshape(len(columns) // 3, 3, columns.shape[1])
    inside = np.minimum(np.maximum((points[:, :2] - padding[:2]) / scales[:2], 0), size[:2])
    mapped = np.concatenate([inside, points[:, 2:]], axis=1).transpose(2, 0, 1)
    return np.ascontiguousarray(mapped, np.float32)
