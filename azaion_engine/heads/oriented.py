"""Heads of oriented boxes: Ultralytics' OBB models, without suppression and with it.

Their rows have seven columns: centre x, centre y, width, height in pixels of the network input, confidence, class and
angle. The first four are no corners, because a turned box has no x1, y1, x2, y2 of its own; the order is that of
Ultralytics' rows. `azaion_engine.geometry` says what the angle is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import OneOutputHead, Outputs, RawLayout, are_relative, is_share, is_whole, wanted
from azaion_engine.heads.oriented_suppression import select_oriented
from azaion_engine.pictures.prepared import Selection

_IOU = 0.7
"""ProbIoU of Ultralytics' `predict` (`cfg/default.yaml`)."""

_CONFIDENT = 0.1


@dataclass(frozen=True)
class OrientedYolo(OneOutputHead):
    """Per candidate cx, cy, w, h in pixels, a score 0…1 per class, and the angle in radians: `[b, 4+nc+1, N]`.

    Attributes:
        output: Name of the output.
        classes: Number of classes.
        last: Whether candidates are the last dimension or the middle one (`[b, N, 4+nc+1]`).
        class_offset: Added to class ids.
    """

    output: str
    classes: int
    last: bool = True
    class_offset: int = 0
    name = "oriented"
    selective = True
    oriented = True

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        return [
            self._rows(self._columns(one), selection)
            for one, selection in zip(outputs[self.output], selections, strict=True)
        ]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        columns = self._columns(outputs[self.output][0])
        scores = columns[4:-1]
        if not is_share(scores):
            return f"scores reach from {scores.min():.3g} to {scores.max():.3g}, expected 0 to 1"
        # Of candidates with a little confidence, for the sizes of others are noise.
        return _contradicts(columns[:4, scores.max(axis=0) >= _CONFIDENT])

    def raw_layout(self) -> RawLayout:
        """See `Head.raw_layout`."""
        return RawLayout(
            self.output, not self.last, self.classes, iou=_IOU, class_offset=self.class_offset, oriented=True
        )

    def _columns(self, one: NDArray[np.float32]) -> NDArray[np.float32]:
        columns = one if self.last else one.T
        if len(columns) != 5 + self.classes:
            raise ModelError(f"output {self.output!r} has {len(columns)} columns, expected {5 + self.classes}")
        return columns

    def _rows(self, columns: NDArray[np.float32], selection: Selection | None) -> NDArray[np.float32]:
        scores = columns[4:-1]
        [kept] = (scores.max(axis=0) >= wanted(selection).confidence).nonzero()
        scores = scores[:, kept]
        classes = scores.argmax(axis=0)
        confidences = scores[classes, np.arange(len(kept))]
        boxes = columns[[0, 1, 2, 3, -1]][:, kept].T
        return select_oriented(boxes, confidences, classes + self.class_offset, selection, _IOU)


@dataclass(frozen=True)
class OrientedRows(OneOutputHead):
    """`[batch, n, 7]` rows that the network has suppressed itself, given on as they are.

    Attributes:
        output: Name of the output.
        class_offset: Added to class ids.
    """

    output: str
    class_offset: int = 0
    name = "oriented_rows"
    oriented = True

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`; the rows keep the network's order, and `Detections` sorts."""
        rows = outputs[self.output]
        if rows.ndim != 3 or rows.shape[2] != 7:
            raise ModelError(f"output {self.output!r} is {list(rows.shape)}, expected [batch, n, 7]")
        if self.class_offset:
            rows = rows + np.array([0, 0, 0, 0, 0, self.class_offset, 0], np.float32)
        return list(rows)

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        rows = outputs[self.output][0]
        likely = rows[rows[:, 4] >= _CONFIDENT]
        if len(likely) and (likely[:, 2:4] >= likely[:, :2]).all():
            return "columns 2 and 3 are never below 0 and 1, so they may be corners"
        return contradiction_of_oriented(rows)


def contradiction_of_oriented(rows: NDArray[np.float32]) -> str:
    """Returns why rows cannot be oriented boxes in pixels with confidence, class and angle; empty if they can.

    Args:
        rows: float32 `[k, 7]` as a network gave them for a real picture; rows of confidence 0 are not looked at.
    """
    rows = rows[rows[:, 4] != 0]
    if not is_whole(np.maximum(rows[:, 5], 0)) or (rows[:, 5] != np.rint(rows[:, 5])).any():
        return "column 5 holds fractions, a class is a whole number"
    if not is_share(rows[:, 4]):
        return f"column 4 reaches from {rows[:, 4].min():.3g} to {rows[:, 4].max():.3g}, a confidence from 0 to 1"
    if not np.isfinite(rows[:, 6]).all():
        return "column 6 is not finite, expected an angle"
    return _contradicts(rows[:, :4].T)


def _contradicts(boxes: NDArray[np.float32]) -> str:
    """Returns why columns `[4, k]` cannot be centres and sizes in pixels."""
    if boxes.size and are_relative(boxes):
        return "no coordinate is above 2, expected pixels"
    return ""
