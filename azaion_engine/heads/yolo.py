"""YOLO heads that leave suppression to the reader: Ultralytics' `[b, 4+nc, N]`, and `[b, N, 5+nc]` of YOLOv5 and v7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import (
    Keypoints,
    OneOutputHead,
    Outputs,
    RawLayout,
    are_relative,
    corners,
    is_share,
    scale_of,
    wanted,
)
from azaion_engine.heads.suppression import select
from azaion_engine.pictures.prepared import Selection

_ULTRALYTICS_IOU, _YOLOV5_IOU = 0.7, 0.45

_CORNERS = 0.9
"""Share of candidates that end after they begin, if they are corners: of centres and sizes it is well below half."""

_COMMON = 0.25
"""Best score that half of the candidates never reach: there are thousands, and few objects."""

_RARE = 1e-4
"""Best class score that half of the candidates of a head with objectness exceed: its classes are trained on objects
only, so that one is always likelier than that. Where objectness is in the scores already, the background has 1e-5."""


@dataclass(frozen=True)
class Coding:
    """What the four coordinates of a candidate are.

    Attributes:
        relative: Whether they are in 0…1 of the network input, as in YOLO's exports through TensorFlow (ultralytics and
            yolov5, `export.py`); else in pixels.
        cornered: Whether they are x1, y1, x2, y2; else centre x, centre y, width, height.
    """

    relative: bool = False
    cornered: bool = False

    def to_corners(self, boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        """Converts boxes `[n, 4]` to x1, y1, x2, y2 in pixels of a network input of (height, width)."""
        if self.relative:
            boxes = boxes * scale_of(size)
        return boxes if self.cornered else corners(boxes)


CENTRES = Coding()
"""The usual coding: centre and size in pixels."""


@dataclass(frozen=True)
class RawYolo(OneOutputHead):
    """Ultralytics' head without suppression: per candidate cx, cy, w, h in pixels and a score 0…1 per class.

    The IoU of .7 is that of Ultralytics' `predict` (`cfg/default.yaml`).

    Attributes:
        output: Name of the output.
        classes: Number of classes; what follows them (mask coefficients) is ignored, unless it is keypoints.
        last: Whether candidates are the last dimension (`[b, 4+nc, N]`) or the middle one (`[b, N, 4+nc]`).
        class_offset: Added to class ids.
        keypoints: Keypoints behind the classes; None: none, or they are not wanted.
        coding: What the coordinates are.
    """

    output: str
    classes: int
    last: bool = True
    class_offset: int = 0
    keypoints: Keypoints | None = None
    coding: Coding = CENTRES
    name = "yolo"
    selective = True

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        return [
            self._rows(self._columns(one), size, selection)
            for one, selection in zip(outputs[self.output], selections, strict=True)
        ]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        columns = self._columns(outputs[self.output][0])
        scores = columns[4 : 4 + self.classes]
        if scores.size and np.median(scores.max(axis=0)) > _COMMON:
            return "most candidates have a high score: an angle (`task: obb`), a keypoint, a class beside an objectness"
        if self.keypoints is not None and self.keypoints.values == 3 and not is_share(columns[6 + self.classes :: 3]):
            return "a keypoint's visibility is not within 0 to 1"
        return contradiction_of_candidates(columns[:4].T, scores, size, self.coding)

    def _columns(self, one: NDArray[np.float32]) -> NDArray[np.float32]:
        columns = one if self.last else one.T
        least = 4 + self.classes + (self.keypoints.columns if self.keypoints else 0)
        if len(columns) < least:
            raise ModelError(f"output {self.output!r} has {len(columns)} columns, expected {least} or more")
        return columns

    def _rows(
        self, columns: NDArray[np.float32], size: tuple[int, int], selection: Selection | None
    ) -> NDArray[np.float32]:
        scores = columns[4 : 4 + self.classes]
        # One pass over all scores, then only candidates that can be kept.
        [kept] = (scores.max(axis=0) >= wanted(selection).confidence).nonzero()
        scores = scores[:, kept]
        classes = scores.argmax(axis=0)
        confidences = scores[classes, np.arange(len(kept))]
        boxes = self.coding.to_corners(columns[:4, kept].T, size)
        points = None
        if self.keypoints is not None:
            first = 4 + self.classes
            points = self.keypoints.to_rows(columns[first : first + self.keypoints.columns, kept].T)
        return select(boxes, confidences, classes + self.class_offset, selection, _ULTRALYTICS_IOU, points)

    def raw_layout(self) -> RawLayout | None:
        """See `Head.raw_layout`."""
        if self.coding != CENTRES:
            return None
        return RawLayout(
            self.output,
            not self.last,
            self.classes,
            iou=_ULTRALYTICS_IOU,
            class_offset=self.class_offset,
            keypoints=self.keypoints,
        )


@dataclass(frozen=True)
class ObjectnessYolo(OneOutputHead):
    """YOLOv5's and YOLOv7's head: per candidate cx, cy, w, h in pixels, objectness and a score 0…1 per class.

    The confidence is objectness times score; a candidate's objectness must reach the threshold too, and the IoU is .45
    (ultralytics/yolov5, `utils/general.py`, `non_max_suppression`).

    Attributes:
        output: Name of the output, `[b, N, 5+nc]`.
        classes: Number of classes; what follows them is ignored.
        class_offset: Added to class ids.
        coding: What the coordinates are.
    """

    output: str
    classes: int
    class_offset: int = 0
    coding: Coding = CENTRES
    name = "yolov5"
    selective = True

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        decoded = self._decoded(outputs[self.output], size)
        return [self._rows(one, size, selection) for one, selection in zip(decoded, selections, strict=True)]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        [one] = self._decoded(outputs[self.output][:1], size)
        fault = self._fault_of_scores(one)
        return fault or contradiction_of_candidates(one[:, :4], one[:, 4 : 5 + self.classes], size, self.coding)

    def _fault_of_scores(self, one: NDArray[np.float32]) -> str:
        """Returns why objectness and classes of candidates `[n, 5 + classes]` cannot be these; empty if they can."""
        if one.size and np.median(one[:, 5 : 5 + self.classes].max(axis=1)) < _RARE:
            return "most candidates have no class at all, so none has an objectness beside it (`head: yolo`)"
        return ""

    def _decoded(self, output: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
        if output.ndim != 3 or output.shape[2] < 5 + self.classes:
            raise ModelError(f"output {self.output!r} is {list(output.shape)}, expected [batch, n, {5 + self.classes}]")
        return output

    def _rows(
        self, one: NDArray[np.float32], size: tuple[int, int], selection: Selection | None
    ) -> NDArray[np.float32]:
        least = wanted(selection).confidence
        candidates = one[one[:, 4] >= least]
        scores = candidates[:, 5 : 5 + self.classes] * candidates[:, 4:5]
        classes = scores.argmax(axis=1)
        confidences = scores[np.arange(len(scores)), classes]
        kept = confidences >= least
        boxes = self.coding.to_corners(candidates[kept, :4], size)
        return select(boxes, confidences[kept], classes[kept] + self.class_offset, selection, _YOLOV5_IOU)

    def raw_layout(self) -> RawLayout | None:
        """See `Head.raw_layout`."""
        if self.coding != CENTRES:
            return None
        return RawLayout(
            self.output, True, self.classes, objectness=True, iou=_YOLOV5_IOU, class_offset=self.class_offset
        )


@dataclass(frozen=True)
class Yolov6(ObjectnessYolo):
    """YOLOv6's head: YOLOv5's columns, one candidate per cell, objectness 1 (meituan/YOLOv6, `effidehead.py`)."""

    def _fault_of_scores(self, one: NDArray[np.float32]) -> str:
        return "column 4 is not 1 everywhere" if (one[:, 4] != 1).any() else ""


def contradiction_of_candidates(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int], coding: Coding
) -> str:
    """Returns why candidates cannot be boxes over the whole network input; empty if they can.

    Args:
        boxes: float32 `[n, 4]`, as the network gives them.
        scores: What is expected to be within 0…1, of any shape.
        size: (height, width) of the network input, in pixels.
        coding: What the boxes are expected to be.
    """
    if not is_share(scores):
        return f"scores reach from {scores.min():.3g} to {scores.max():.3g}, expected 0 to 1"
    if not boxes.size:
        return ""
    if are_relative(boxes) != coding.relative:
        return "coordinates are above 2, expected 0 to 1" if coding.relative else "no coordinate is above 2, not pixels"
    if coding.relative:
        boxes = boxes * scale_of(size)
    if not reaches_across(boxes, size):
        return "centres are not in pixels"
    # Candidates lie all over the picture, so most centres are further right and down than their boxes are large.
    if ((boxes[:, 2:] >= boxes[:, :2]).all(axis=1).mean() > _CORNERS) != coding.cornered:
        return (
            "columns 2 and 3 are below 0 and 1, so they are sizes, not corners"
            if coding.cornered
            else "columns 2 and 3 are never below 0 and 1, so they are corners, not sizes"
        )
    return ""


def reaches_across(boxes: NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Whether centres `[n, 2 or more]` reach beyond the middle of the network input; offsets in cells do not."""
    return bool(np.abs(boxes[:, :2]).max(initial=0) > max(size) / 2)
