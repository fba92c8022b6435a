"""Suppression: of boxes that overlap, the most confident one is kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.base import as_rows, wanted
from azaion_engine.pictures.prepared import Selection

_CLASS_OFFSET = 7680
"""Pixels by which boxes of one class are moved from those of the next, as in Ultralytics' `non_max_suppression`."""

_MOST_CANDIDATES = 30000
"""Most confident boxes that are compared, likewise (`max_nms`)."""

_AT_ONCE = 512
"""Candidates that are compared with each other at a time."""


def suppress(boxes: NDArray[np.float32], classes: NDArray[np.generic], iou: float, most: int) -> NDArray[np.intp]:
    """Greedy suppression of boxes of the same class.

    Args:
        boxes: float32 `[n, 4]` of x1, y1, x2, y2, by falling confidence; further columns are not looked at.
        classes: `[n]`; all equal: boxes of any class suppress each other.
        iou: Boxes that overlap a kept one by more than this are dropped, 0…1.
        most: Largest number of boxes to keep.

    Returns:
        Indices of the kept boxes, ascending.
    """
    moved = boxes[:, :4] + (classes.astype(np.float32) * np.float32(_CLASS_OFFSET))[:, None]
    x1, y1, x2, y2 = np.ascontiguousarray(moved.T)
    areas = (x2 - x1) * (y2 - y1)

    def dropped(by: NDArray[np.intp], others: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which boxes each box drops, `[by, others]`."""
        one = by[:, None]
        width = np.minimum(x2[one], x2[others]) - np.maximum(x1[one], x1[others])
        height = np.minimum(y2[one], y2[others]) - np.maximum(y1[one], y1[others])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # two boxes without area: NaN is not above
            over: NDArray[np.bool_] = shared / (areas[one] + areas[others] - shared) > np.float32(iou)
        return over

    kept: list[int] = []
    # Few of many candidates are kept, and those are among the first: later ones are looked at only if they must be.
    for start in range(0, len(boxes), _AT_ONCE):
        left = np.arange(start, min(start + _AT_ONCE, len(boxes)))
        if kept:
            left = left[~dropped(np.array(kept), left).any(axis=0)]
        while len(left) and len(kept) < most:
            kept.append(int(left[0]))
            left = left[1:][~dropped(left[:1], left[1:])[0]]
        if len(kept) == most:
            break
    return np.array(kept, np.intp)


def select(
    boxes: NDArray[np.float32],
    confidences: NDArray[np.float32],
    classes: NDArray[np.generic],
    selection: Selection | None,
    default_iou: float,
    more: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Suppresses the candidates of one picture.

    Args:
        boxes: float32 `[n, 4]` of x1, y1, x2, y2, any order.
        confidences: `[n]`, 0…1, all above the selection's threshold.
        classes: `[n]`.
        selection: What the caller wants; None: every box.
        default_iou: Threshold of the head's family where the caller names none.
        more: Further columns of rows, `[n, columns]`, if there are any: keypoints.

    Returns:
        Rows `[k, 6]` by falling confidence, with the further columns behind them.
    """
    if more is not None:
        boxes = np.concatenate([boxes, more], axis=1)
    boxes, confidences, classes, kept = kept_of(suppress, boxes, confidences, classes, selection, default_iou)
    rows = as_rows(boxes[kept, :4], confidences[kept], classes[kept])  # they are sorted already
    return rows if more is None else np.concatenate([rows, boxes[kept, 4:]], axis=1)


def kept_of(
    suppressing: Callable[[NDArray[np.float32], NDArray[np.generic], float, int], NDArray[np.intp]],
    boxes: NDArray[np.float32],
    confidences: NDArray[np.float32],
    classes: NDArray[np.generic],
    selection: Selection | None,
    default_iou: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.generic], NDArray[np.intp]]:
    """Sorts candidates by confidence and suppresses them as the caller wants.

    Args:
        suppressing: `suppress`, or the one for oriented boxes.
        boxes: `[n, columns]` as `suppressing` takes them.
        confidences: As in `select`.
        classes: As in `select`.
        selection: As in `select`.
        default_iou: As in `select`.

    Returns:
        Boxes, confidences and classes by falling confidence, and the indices of those that are kept.
    """
    selection = wanted(selection)
    order = np.argsort(-confidences, kind="stable")[:_MOST_CANDIDATES]
    boxes, confidences, classes = boxes[order], confidences[order], classes[order]
    groups = np.zeros(len(classes)) if selection.class_agnostic else classes
    iou = default_iou if selection.iou is None else selection.iou
    return boxes, confidences, classes, suppressing(boxes, groups, iou, selection.max_detections)
