"""Suppression of oriented boxes by ProbIoU.

ProbIoU (Llerena and others, 2021, arXiv 2106.06072) compares the normal distributions that have the same centre and
the same second moments as the boxes: covariance `R(angle) · diag(width²/12, height²/12) · R(angle)ᵀ`. Of their
Bhattacharyya distance B, it is `1 - sqrt(1 - exp(-B))`: 1 for equal boxes, 0 for distant ones.

Which boxes stay is as in Ultralytics (`TorchNMS.fast_nms`): Fast NMS (Bolya and others, 2019, arXiv 1904.02689) drops a
box if any more confident one overlaps it, even one that is dropped itself. Upright boxes are suppressed by kept ones
only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.suppression import kept_of
from azaion_engine.pictures.prepared import Selection

_EPSILON = 1e-7
"""Added where a divisor or a logarithm can be 0, as in Ultralytics' `batch_probiou`: two equal boxes have .9996."""

_LEAST_SIZE = 0.05
"""Twelfths of square pixels of a box whose squared size is far above epsilon."""

_AT_ONCE = 256
"""Candidates that are compared with more confident ones at a time."""


def distance_at(iou: float) -> float:
    """Returns the Bhattacharyya distance below which two boxes have a ProbIoU above `iou`; -inf if none have."""
    distance = -math.log(1 + _EPSILON - (1 - iou) ** 2)
    return distance if distance > _EPSILON else -math.inf


def probiou(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the ProbIoU of each box with each other one, 0…1.

    Args:
        boxes: float32 `[n, 5]`: centre x, centre y, width, height, angle in radians.
        others: float32 `[m, 5]`.

    Returns:
        float32 `[n, m]`.
    """
    distances = np.clip(_distances(_moments(boxes)[:, :, None], _moments(others)[:, None]), _EPSILON, 100)
    overlaps: NDArray[np.float32] = 1 - np.sqrt(1 - np.exp(-distances) + np.float32(_EPSILON))
    return np.maximum(overlaps, 0)


def suppress_oriented(
    boxes: NDArray[np.float32], classes: NDArray[np.generic], iou: float, most: int
) -> NDArray[np.intp]:
    """Drops boxes that a more confident one of the same class overlaps.

    Args:
        boxes: float32 `[n, 5]`: centre x, centre y, width, height, angle in radians; by falling confidence.
        classes: `[n]`; all equal: boxes of any class suppress each other.
        iou: Boxes whose ProbIoU with a more confident one is above this are dropped, 0…1.
        most: Largest number of boxes to keep.

    Returns:
        Indices of the kept boxes, ascending.
    """
    limit = np.float32(distance_at(iou))
    moments = np.concatenate([_moments(boxes), classes[None].astype(np.float32)])
    kept = np.zeros(0, np.intp)
    for start in range(0, len(boxes), _AT_ONCE):
        left = np.arange(start, min(start + _AT_ONCE, len(boxes)))
        # Most boxes overlap a kept one, and those are few; the others are compared with every more confident one.
        for rivals in (kept, np.arange(left[-1] + 1)):
            overlap = _overlap(moments[:, left], moments[:, rivals], limit) & (rivals < left[:, None])
            left = left[~overlap.any(axis=1)]
            if not len(left):
                break
        kept = np.concatenate([kept, left])
        if len(kept) >= most:
            break
    return kept[:most]


def select_oriented(
    boxes: NDArray[np.float32],
    confidences: NDArray[np.float32],
    classes: NDArray[np.generic],
    selection: Selection | None,
    default_iou: float,
) -> NDArray[np.float32]:
    """Suppresses the oriented candidates of one picture.

    Args:
        boxes: float32 `[n, 5]`: centre x, centre y, width, height, angle; any order.
        confidences: `[n]`, 0…1, all above the selection's threshold.
        classes: `[n]`.
        selection: What the caller wants; None: every box.
        default_iou: ProbIoU where the caller names none.

    Returns:
        Rows `[k, 7]` by falling confidence.
    """
    boxes, confidences, classes, kept = kept_of(suppress_oriented, boxes, confidences, classes, selection, default_iou)
    parts = (boxes[kept, :4], confidences[kept, None], classes[kept, None], boxes[kept, 4:])
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _moments(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns `[7, n]`: centre x and y, variance along width and height, its root's determinant, cos and sin."""
    x, y, width, height, angle = np.ascontiguousarray(boxes.T, np.float32)
    twelfth = np.float32(12)
    size = np.abs(width * height) / twelfth
    return np.stack([x, y, width * width / twelfth, height * height / twelfth, size, np.cos(angle), np.sin(angle)])


def _overlap(boxes: NDArray[np.float32], others: NDArray[np.float32], limit: np.float32) -> NDArray[np.bool_]:
    """Returns which pairs are of one class and less than `limit` apart, `[n, m]`.

    The distance is at least |d|² / 4 over the sum of both boxes' larger variances: most pairs need no more than that.

    Args:
        boxes: Moments and, after them, the class, float32 `[8, n]`.
        others: The same of other boxes, `[8, m]`.
        limit: Bhattacharyya distance.
    """
    with np.errstate(all="ignore"):  # infinite sides
        across, down = (boxes[axis, :, None] - others[axis] for axis in (0, 1))
        # Where epsilon counts, in boxes of less than a pixel, the bound does not hold.
        reach, others_reach = (
            np.where(one[4] < _LEAST_SIZE, np.float32(np.inf), np.maximum(one[2], one[3])) for one in (boxes, others)
        )
        factor = np.float32(4 * (max(float(limit), 0.0) + 1e-5) * (1 + 1e-3))
        overlap: NDArray[np.bool_] = across * across + down * down < factor * (reach[:, None] + others_reach)
    overlap &= boxes[7, :, None] == others[7]
    first, second = overlap.nonzero()
    overlap[first, second] = _distances(boxes[:7, first], others[:7, second]) < limit
    return overlap


def _distances(by: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the Bhattacharyya distances of moments `[7, …]` and `[7, …]`, which are broadcast; float32 `[…]`.

    `dᵀ S⁻¹ d / 4 + ln(det S / (4 sqrt(det S₁ det S₂))) / 2`, where S is the sum of both covariances and d the
    difference of the centres. Both terms are written along the boxes' own axes, as sums of what is not negative: in
    Cartesian terms the determinant of a long thin box is a small difference of large numbers, imprecise in float32.
    """
    x1, y1, p1, q1, size1, cos1, sin1 = by
    x2, y2, p2, q2, size2, cos2, sin2 = others
    epsilon = np.float32(_EPSILON)
    with np.errstate(all="ignore"):  # NaN is below no limit
        cos, sin = cos1 * cos2 + sin1 * sin2, sin1 * cos2 - cos1 * sin2
        determinant = p1 * q1 + p2 * q2 + (p1 * q2 + q1 * p2) * (cos * cos) + (p1 * p2 + q1 * q2) * (sin * sin)
        dx, dy = x1 - x2, y1 - y2
        along1, across1 = dx * cos1 + dy * sin1, dy * cos1 - dx * sin1
        along2, across2 = dx * cos2 + dy * sin2, dy * cos2 - dx * sin2
        apart = q1 * (along1 * along1) + p1 * (across1 * across1) + q2 * (along2 * along2) + p2 * (across2 * across2)
        shape = determinant / (np.float32(4) * (size1 * size2) + epsilon) + epsilon
        distances: NDArray[np.float32] = np.float32(0.25) * (apart / (determinant + epsilon)) + np.float32(
            0.5
        ) * np.log(shape)
    return distances
