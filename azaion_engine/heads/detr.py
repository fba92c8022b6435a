"""DETR heads: queries with centre x, centre y, width, height in 0…1; nothing needs suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import (
    Head,
    OneOutputHead,
    Outputs,
    are_relative,
    as_rows,
    corners,
    is_share,
    is_whole,
    scale_of,
    sigmoid,
    wanted,
)
from azaion_engine.pictures.prepared import Selection

_QUERIES = 100
"""Fewest queries of a DETR that has more classes than queries; that of DETR itself."""

Background = Literal["none", "first", "last"]


@dataclass(frozen=True)
class Detr(Head):
    """Logits of each class and a box for each query, as two outputs.

    Without background class, confidences are sigmoids of the logits, and the most confident pairs of query and class
    are kept (Deformable DETR, RT-DETR, D-FINE, RF-DETR: `post_process_object_detection` in transformers). With one,
    they are the softmax over all classes, each query has its best class, and the background is left out (DETR, YOLOS).

    Attributes:
        logits: Name of the output `[b, queries, classes]`.
        boxes: Name of the output `[b, queries, 4]`.
        softmax: Whether confidences are a softmax over the classes.
        background: Which class is the background.
        class_offset: Added to class ids.
    """

    logits: str
    boxes: str
    softmax: bool
    background: Background
    class_offset: int = 0
    name = "detr"

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Logits and boxes."""
        return (self.logits, self.boxes)

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        logits, boxes = outputs[self.logits], outputs[self.boxes]
        if logits.ndim != 3 or boxes.ndim != 3 or boxes.shape[2] != 4 or logits.shape[:2] != boxes.shape[:2]:
            raise ModelError(
                f"outputs {self.logits!r} {list(logits.shape)} and {self.boxes!r} {list(boxes.shape)}: "
                "expected [batch, n, classes] and [batch, n, 4]"
            )
        scale = scale_of(size)
        return [
            self._rows(one, corners(box) * scale, selection)
            for one, box, selection in zip(logits, boxes, selections, strict=True)
        ]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        logits, boxes = outputs[self.logits][0], outputs[self.boxes][0]
        if not are_relative(boxes):
            return f"boxes reach from {boxes.min():.3g} to {boxes.max():.3g}, expected 0 to 1"
        if logits.size and is_share(logits):
            return f"{self.logits!r} are within 0 to 1, so they are scores already, not logits (`head: scored_boxes`)"
        return ""

    def _rows(
        self, logits: NDArray[np.float32], boxes: NDArray[np.float32], selection: Selection | None
    ) -> NDArray[np.float32]:
        scores = _softmax(logits) if self.softmax else sigmoid(logits)
        if self.background != "none":
            scores = scores[:, 1:] if self.background == "first" else scores[:, :-1]
        if self.softmax:
            queries, classes = np.arange(len(scores)), scores.argmax(axis=1)
        else:
            # As many pairs as there are queries, as transformers and the authors' code do.
            best = np.argsort(-scores, axis=None, kind="stable")[: len(scores)]
            queries, classes = np.unravel_index(best, scores.shape)
        return confident(boxes[queries], scores[queries, classes], classes + self.class_offset, selection)


@dataclass(frozen=True)
class UltralyticsRtDetr(OneOutputHead):
    """Ultralytics' RT-DETR: `[b, 300, 4+nc]`, or `[b, 300, 6]` with score and class after the box; boxes are in 0…1.

    Source: ultralytics/models/rtdetr/predict.py, `postprocess`.

    Attributes:
        output: Name of the output.
        ranked: Whether the columns after the box are score and class, not a score for each class.
        class_offset: Added to class ids.
    """

    output: str
    ranked: bool
    class_offset: int = 0
    name = "rtdetr"

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        output = outputs[self.output]
        if output.ndim != 3 or output.shape[2] < 5 or (self.ranked and output.shape[2] != 6):
            raise ModelError(f"output {self.output!r} is {list(output.shape)}, expected [batch, 300, 4 + classes]")
        scale = scale_of(size)
        return [self._rows(one, scale, selection) for one, selection in zip(output, selections, strict=True)]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        one = outputs[self.output][0]
        if len(one) < min(_QUERIES, one.shape[1]):
            return f"{len(one)} queries are few for {one.shape[1]} columns, which may be candidates"
        shares = one[:, :5] if self.ranked else one
        if not is_share(shares):
            return f"columns reach from {shares.min():.3g} to {shares.max():.3g}, expected 0 to 1"
        if self.ranked and not is_whole(one[:, 5]):
            return "column 5 holds fractions, a class is a whole number"
        boxes = one[one[:, 4:].max(axis=1) > 0]
        if len(boxes) and (boxes[:, 2:4] >= boxes[:, :2]).all():
            return "columns 2 and 3 are never below 0 and 1, so they are corners in 0 to 1, not sizes"
        return ""

    def _rows(
        self, one: NDArray[np.float32], scale: NDArray[np.float32], selection: Selection | None
    ) -> NDArray[np.float32]:
        boxes = corners(one[:, :4]) * scale
        if self.ranked:
            confidences, classes = one[:, 4], one[:, 5]
        else:
            classes = one[:, 4:].argmax(axis=1)
            confidences = one[np.arange(len(one)), 4 + classes]
        return confident(boxes, confidences, classes + self.class_offset, selection)


def confident(
    boxes: NDArray[np.float32],
    confidences: NDArray[np.float32],
    classes: NDArray[np.generic],
    selection: Selection | None,
) -> NDArray[np.float32]:
    """Returns the rows of boxes at or above the wanted confidence, the most confident ones first; None wants all."""
    kept = confidences >= wanted(selection).confidence
    most = None if selection is None else selection.max_detections
    return as_rows(boxes[kept], confidences[kept], classes[kept])[:most]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
    return shares
