"""Suppression: of boxes that overlap, the most confident one is kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.base import as_rows, wanted
from azaion_engine.pictures.prepared import Selection

_CLASS_OFFSET = 7680
"""Pixels by which boxes of one class are moved from those of the next, as in Ultralytics' `non_max_suppression`."""

_MOST_CANDIDATES = 30000
"""Most confident boxes that are compared, likewise (`max_nms`)."""


def suppress(boxes: NDArray[np.float32], classes: NDArray[np.generic], iou: float, most: int) -> NDArray[np.intp]:
    """Greedy suppression of boxes of the same class.

    Args:
        boxes: float32 `[n, 4]` of x1, y1, x2, y2, by falling confidence.
        classes: `[n]`; all equal: boxes of any class suppress each other.
        iou: Boxes that overlap a kept one by more than this are dropped, 0…1.
        most: Largest number of boxes to keep.

    Returns:
        Indices of the kept boxes, ascending.
    """
    moved = boxes + (classes.astype(np.float32) * np.float32(_CLASS_OFFSET))[:, None]
    x1, y1, x2, y2 = np.ascontiguousarray(moved.T)
    areas = (x2 - x1) * (y2 - y1)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[left]) - np.maximum(x1[best], x1[left])
        height = np.minimum(y2[best], y2[left]) - np.maximum(y1[best], y1[left])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: NaN is not above
            left = left[~(shared / (areas[best] + areas[left] - shared) > np.float32(iou))]
    return np.array(kept, np.intp)


def select(
    boxes: NDArray[np.float32],
    confidences: NDArray[np.float32],
    classes: NDArray[np.generic],
    selection: Selection | None,
    default_iou: float,
) -> NDArray[np.float32]:
    """Suppresses the candidates of one picture.

    Args:
        boxes: float32 `[n, 4]` of x1, y1, x2, y2, any order.
        confidences: `[n]`, 0…1, all above the selection's threshold.
        classes: `[n]`.
        selection: What the caller wants; None: every box.
        default_iou: Threshold of the head's family where the caller names none.

    Returns:
        Rows `[k, 6]` by falling confidence.
    """
    selection = wanted(selection)
    order = np.argsort(-confidences, kind="stable")[:_MOST_CANDIDATES]
    boxes, confidences, classes = boxes[order], confidences[order], classes[order]
    groups = np.zeros(len(classes)) if selection.class_agnostic else classes
    iou = default_iou if selection.iou is None else selection.iou
    kept = suppress(boxes, groups, iou, selection.max_detections)
    return as_rows(boxes[kept], confidences[kept], classes[kept])
