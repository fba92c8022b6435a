"""Suppression: of boxes that overlap, the most confident stays (non-maximum suppression).

Equals Ultralytics' `non_max_suppression` (8.4) with torchvision's `nms`, in float32 and in their order of operations:
boxes are shifted by class × 7680 pixels, so that only boxes of one class overlap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.base import Rows

MOST_CANDIDATES = 30_000
"""Boxes that suppression looks at, the most confident ones: Ultralytics' `max_nms`."""

CLASS_SHIFT = np.float32(7680)
"""Pixels between the boxes of two classes: Ultralytics' `max_wh`."""

_STEP = 1024
"""Boxes that are compared at a time: most pictures are through before their last candidate."""


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    classes: NDArray[np.float32],
    iou: float,
    most: int,
) -> Rows:
    """Returns the boxes that stay, the most confident first; of equal ones, the earlier first.

    Args:
        boxes: float32 `[n, 4]`: x1, y1, x2, y2.
        scores: float32 `[n]`.
        classes: float32 `[n]`: class ids.
        iou: A box that overlaps a better one of its class by more than this (intersection over union) goes.
        most: Maximum number of rows.

    Returns:
        float32 `[k ≤ most, 6]`: x1, y1, x2, y2, score, class.
    """
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    rows = np.column_stack([boxes, scores, classes]).astype(np.float32, copy=False)[order]
    shifted = rows[:, :4] + (rows[:, 5] * CLASS_SHIFT)[:, None]
    x1, y1, x2, y2 = np.ascontiguousarray(shifted.T)
    areas = (x2 - x1) * (y2 - y1)
    alive = np.ones(len(rows), np.bool_)
    kept: list[int] = []
    at = 0
    while at < len(rows) and len(kept) < most:
        if not alive[at]:
            step = int(alive[at : at + _STEP].argmax())
            at += step or min(_STEP, len(rows) - at)
            continue
        kept.append(at)
        rest = slice(at + 1, None)
        width = np.maximum(np.minimum(x2[at], x2[rest]) - np.maximum(x1[at], x1[rest]), np.float32(0))
        height = np.maximum(np.minimum(y2[at], y2[rest]) - np.maximum(y1[at], y1[rest]), np.float32(0))
        overlap = width * height
        with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: NaN is not above
            alive[rest] &= ~(overlap / (areas[at] + areas[rest] - overlap) > np.float32(iou))
        at += 1
    return rows[kept]
