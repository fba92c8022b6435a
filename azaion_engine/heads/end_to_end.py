"""End-to-end heads: rows of x1, y1, x2, y2, confidence, class that the network has suppressed itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import (
    CROWDED,
    Keypoints,
    OneOutputHead,
    Outputs,
    are_corners,
    are_crowded,
    are_relative,
    is_share,
    scale_of,
    wanted,
)
from azaion_engine.heads.suppression import select
from azaion_engine.pictures.prepared import Selection

CANDIDATES_IOU = 0.45
"""Threshold of the boxes of a model that gives one for each candidate, where the caller names none."""

STRAIGHT = (0, 1, 2, 3, 4, 5)
CLASS_FIRST = (2, 3, 4, 5, 1, 0)
CLASS_BEFORE_CONFIDENCE = (0, 1, 2, 3, 5, 4)
"""Orders of the columns: as in `Head.rows`; class, confidence, corners; corners, class, confidence."""

INDEXED_CLASS = (1, 2, 3, 4, 6, 5)
INDEXED = (1, 2, 3, 4, 5, 6)
"""Orders after the picture's number in its batch: YOLOv7's (WongKinYiu/yolov7, `models/experimental.py`, `ONNX_ORT`),
and that of YOLO-NAS (super-gradients, `flat_predictions`)."""


@dataclass(frozen=True)
class EndToEnd(OneOutputHead):
    """`[batch, n, 6]` rows, by default in pixels of the network input, given on as they are.

    Attributes:
        output: Name of the output.
        class_offset: Added to class ids.
        columns: Columns of a row; those after the sixth (mask coefficients) are ignored, unless they are keypoints.
        order: Columns of x1, y1, x2, y2, confidence and class, where they have another order.
        relative: Whether coordinates are in 0…1 of the network input, not in pixels.
        flat: Whether rows have no batch dimension: `[n, columns]`.
        keypoints: Keypoints from the seventh column on; None: none, or they are not wanted.
    """

    output: str = "output0"
    class_offset: int = 0
    columns: int = 6
    order: tuple[int, ...] = STRAIGHT
    relative: bool = False
    flat: bool = False
    keypoints: Keypoints | None = None
    name = "end_to_end"

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """See `Head`."""
        return not self.flat

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`; the rows keep the network's order, and `Detections` sorts."""
        rows = outputs[self.output]
        if rows.ndim != 3 or rows.shape[2] != self.columns:
            raise ModelError(f"output {self.output!r} is {list(rows.shape)}, expected [batch, n, {self.columns}]")
        points = None if self.keypoints is None else self.keypoints.to_rows(rows[:, :, 6:])
        if self.columns != 6 or self.order != STRAIGHT:
            rows = np.ascontiguousarray(rows[:, :, list(self.order)])
        if self.relative:
            rows = rows * np.concatenate([scale_of(size), np.ones(2, np.float32)])
        if self.class_offset:
            rows = rows + np.array([0, 0, 0, 0, 0, self.class_offset], np.float32)
        return list(rows if points is None else np.concatenate([rows, points], axis=2))

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        if outputs[self.output].ndim != 3:
            return "the file does not say that its rows have no batch"
        rows = outputs[self.output][0]
        if self.order in (INDEXED, INDEXED_CLASS) and rows[:, 0].any():
            return "column 0 is not 0, the number of a lone picture"
        rows = rows[:, list(self.order)]
        if not self.relative:
            fault = contradiction_of(rows) or (CROWDED if are_crowded(rows[rows[:, 4] > 0], size) else "")
        elif not are_relative(rows[:, :4]):
            fault = "coordinates are above 2"
        elif (rows[:, 2:4] < rows[:, :2])[rows[:, 4] > 0].any():  # else they can be centres and sizes
            fault = "in some rows x2 or y2 is below x1 or y1"
        else:
            fault = contradiction_of(rows * np.concatenate([scale_of(size), np.ones(2, np.float32)]))
        is_usual = (self.order == STRAIGHT or (self.flat and not rows.any())) and not self.relative
        if not fault and not is_usual and not ((rows[:, 4] > 0) & (rows[:, 4] < 1)).any():
            return "no confidence lies between 0 and 1"  # an empty answer shows nothing, and 0 and 1 can be classes
        return fault


@dataclass(frozen=True)
class CandidateRows(EndToEnd):
    """Rows of every candidate, which the network has not suppressed.

    Source: marcoslucianops/DeepStream-Yolo, `utils/export_*.py`, class `DeepStreamOutput`; the IoU is that of its
    `config_infer_primary_*.txt`, `nms-iou-threshold`.
    """

    selective = True

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        pictures = zip(super().rows(outputs, size, selections), selections, strict=True)
        return [self._suppressed(rows, selection) for rows, selection in pictures]

    def _suppressed(self, rows: NDArray[np.float32], selection: Selection | None) -> NDArray[np.float32]:
        rows = rows[rows[:, 4] >= wanted(selection).confidence]
        points = None if self.keypoints is None else rows[:, 6:]
        return select(rows[:, :4], rows[:, 4], rows[:, 5], selection, CANDIDATES_IOU, points)


def contradiction_of(rows: NDArray[np.float32]) -> str:
    """Returns why rows cannot be boxes in pixels with confidence and class; empty if they can.

    Args:
        rows: float32 `[k, 6]` as a network gave them for a real picture; rows of confidence 0 need only a whole class.
    """
    if (rows[:, 5] != np.rint(rows[:, 5])).any():
        return "column 5 holds fractions, a class is a whole number"
    rows = rows[rows[:, 4] != 0]
    if not len(rows):
        return ""
    if not is_share(rows[:, 4]):
        return f"column 4 reaches from {rows[:, 4].min():.3g} to {rows[:, 4].max():.3g}, a confidence from 0 to 1"
    if are_relative(rows[:, :4]):
        return "no coordinate is above 2, so boxes are not in pixels"
    # Not any: YOLO26 gives a few such boxes of nearly no confidence.
    if not are_corners(rows[:, :4], rows[:, 4]):
        return "in many rows x2 or y2 is below x1 or y1, which may be centre and size"
    return ""
