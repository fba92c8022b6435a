"""Heads whose outputs are boxes, scores and classes apart, in any order: EfficientNMS, torchvision and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import (
    CROWDED,
    Head,
    Outputs,
    PluginSuppression,
    are_corners,
    are_crowded,
    are_relative,
    corners,
    is_share,
    is_whole,
    scale_of,
    sigmoid,
    wanted,
)
from azaion_engine.heads.detr import confident
from azaion_engine.heads.end_to_end import CANDIDATES_IOU
from azaion_engine.heads.suppression import select
from azaion_engine.pictures.prepared import Selection

Order = Literal["xyxy", "yxyx"]

_NEGATIVE = 0.05
"""Largest share of boxes with a size below 0: decoded sizes have none, of offsets from anchors about half are."""

CENTRED = "many boxes end before they begin, so they are no corners; they may be centre and size"


@dataclass(frozen=True)
class NamedOutputs(Head):
    """Boxes that the network has suppressed itself, with a confidence and a class each.

    Attributes:
        boxes: Name of the output `[b, n, 4]`, or `[b, n, 5]` with the confidence last.
        scores: Name of the output `[b, n]` or `[b, n, 1]`; empty: the confidence is the boxes' fifth column.
        classes: Name of the output `[b, n]` or `[b, n, 1]`; -1 marks a row without a box, as mmdeploy fills up.
        count: Name of the output `[b, 1]` or `[b]` that tells how many rows are valid; empty: all are.
        order: Order of a box's coordinates.
        relative: Whether coordinates are in 0…1 of the network input, not in pixels; None: those of each picture tell,
            since a sample without boxes cannot.
        batched: As in `Head`: without, the outputs have no batch dimension.
        selective: As in `Head`: the network gives every candidate and has suppressed none, as Qualcomm AI Hub's YOLO
            (quic/ai-hub-models, `qai_hub_models/models/_shared/yolo`) and older exports of DeepStream-Yolo.
        class_offset: Added to class ids.
    """

    boxes: str
    scores: str
    classes: str
    count: str = ""
    order: Order = "xyxy"
    relative: bool | None = None
    batched: bool = True
    selective: bool = False
    class_offset: int = 0
    name = "named_outputs"

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """All that it reads."""
        return tuple(name for name in (self.boxes, self.scores, self.classes, self.count) if name)

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        pictures = zip(self._parts(outputs), selections, strict=True)
        return [
            self._rows(self._in_pixels(boxes, scores, size), scores, classes + self.class_offset, selection)
            for (boxes, scores, classes), selection in pictures
        ]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        boxes, scores, classes = self._parts(outputs)[0]
        if not is_share(scores):
            return f"scores reach from {scores.min():.3g} to {scores.max():.3g}, expected 0 to 1"
        if not is_whole(classes):
            return "classes are not whole numbers"
        boxes, scores = boxes[scores > 0], scores[scores > 0]  # without filler, whose corners are 0 or -1
        if self.relative is not None and boxes.size and self.relative != are_relative(boxes):
            return f"boxes reach to {np.abs(boxes).max():.3g}, expected {'0 to 1' if self.relative else 'pixels'}"
        if not are_corners(boxes, scores):
            return CENTRED
        return CROWDED if are_crowded(self._in_pixels(boxes, scores, size), size) else ""

    def _in_pixels(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        relative = are_relative(boxes[scores > 0]) if self.relative is None else self.relative
        return boxes * scale_of(size) if relative else boxes

    def _rows(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        classes: NDArray[np.float32],
        selection: Selection | None,
    ) -> NDArray[np.float32]:
        if not self.selective:
            return confident(boxes, scores, classes, selection)
        kept = scores >= wanted(selection).confidence
        return select(boxes[kept], scores[kept], classes[kept], selection, CANDIDATES_IOU)

    def _parts(self, outputs: Outputs) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        """Returns boxes `[k, 4]`, confidences and classes `[k]` of each picture."""
        boxes, classes = outputs[self.boxes], outputs[self.classes]
        scores = outputs[self.scores] if self.scores else boxes[..., 4]
        scores, classes = (one[..., 0] if one.ndim == 3 and one.shape[2] == 1 else one for one in (scores, classes))
        if (
            boxes.ndim != 3
            or boxes.shape[2] != (4 if self.scores else 5)
            or scores.shape != boxes.shape[:2]
            or classes.shape != boxes.shape[:2]
        ):
            given = ", ".join(f"{name!r} {list(outputs[name].shape)}" for name in self.outputs)
            raise ModelError(f"expected boxes [batch, n, 4], scores and classes [batch, n], given {given}")
        boxes = boxes[..., :4]
        if self.order == "yxyx":
            boxes = boxes[..., [1, 0, 3, 2]]
        parts = list(zip(boxes, scores, classes, strict=True))
        if self.count:
            counts = outputs[self.count].reshape(-1).astype(np.intp)
            if len(counts) != len(boxes):
                raise ModelError(f"output {self.count!r} has {len(counts)} numbers for {len(boxes)} pictures")
            parts = [(b[:n], s[:n], c[:n]) for (b, s, c), n in zip(parts, counts, strict=True)]
        return [(b[c != -1], s[c != -1], c[c != -1]) for b, s, c in parts]


@dataclass(frozen=True)
class ScoredBoxes(Head):
    """Decoded boxes with a score for each class, not suppressed yet: SSD and its kin.

    Attributes:
        boxes: Name of the output `[b, n, 4]` or `[b, n, 1, 4]` of x1, y1, x2, y2.
        scores: Name of the output `[b, n, classes]`, 0…1.
        relative: Whether coordinates are in 0…1 of the network input, not in pixels.
        background: Which class is the background.
        class_offset: Added to class ids.
        transposed: Whether scores are `[b, classes, n]`, as PP-YOLOE's.
        centred: Whether boxes are centre x, centre y, width, height.
    """

    boxes: str
    scores: str
    relative: bool
    background: Literal["none", "first", "last"]
    class_offset: int = 0
    transposed: bool = False
    centred: bool = False
    name = "scored_boxes"
    selective = True

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Boxes and scores."""
        return (self.boxes, self.scores)

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        boxes, scores = self._both(outputs)
        if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[:2] != scores.shape[:2] or boxes.shape[2] != 4:
            raise ModelError(
                f"outputs {self.boxes!r} {list(boxes.shape)} and {self.scores!r} {list(scores.shape)}: "
                "expected [batch, n, 4] and [batch, n, classes]"
            )
        factors = scale_of(size) if self.relative else np.float32(1)
        return [
            self._rows(box * factors, score, selection)
            for box, score, selection in zip(boxes, scores, selections, strict=True)
        ]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        boxes, scores = (both[0] for both in self._both(outputs))
        if not is_share(scores):
            return f"scores reach from {scores.min():.3g} to {scores.max():.3g}, expected 0 to 1"
        if boxes.size and self.relative != are_relative(boxes):
            return f"boxes reach to {np.abs(boxes).max():.3g}, expected {'0 to 1' if self.relative else 'pixels'}"
        if are_corners(boxes, self._of_objects(scores).max(axis=1, initial=0)) == self.centred:
            return "most boxes end after they begin, as corners do" if self.centred else CENTRED
        if self.centred and (boxes[:, 2:] < 0).any(axis=1).mean() > _NEGATIVE:
            return "sizes are below 0, as offsets from anchors are"
        return ""

    def _both(self, outputs: Outputs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns boxes `[b, n, 4]` and scores `[b, n, classes]`."""
        boxes, scores = outputs[self.boxes], outputs[self.scores]
        if boxes.ndim == 4 and boxes.shape[2] == 1:
            boxes = boxes[:, :, 0]
        return boxes, scores.transpose(0, 2, 1) if self.transposed and scores.ndim == 3 else scores

    def _of_objects(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the scores without the background's."""
        if self.background == "none":
            return scores
        return scores[:, 1:] if self.background == "first" else scores[:, :-1]

    def _rows(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], selection: Selection | None
    ) -> NDArray[np.float32]:
        scores = self._of_objects(scores)
        least = (selection or Selection()).confidence
        [kept] = (scores.max(axis=1) >= least).nonzero()
        scores = scores[kept]
        classes = scores.argmax(axis=1)
        confidences = scores[np.arange(len(kept)), classes]
        chosen = corners(boxes[kept]) if self.centred else boxes[kept]
        return select(chosen, confidences, classes + self.class_offset, selection, 0.45)


@dataclass(frozen=True)
class PluginBoxes(Head):
    """Boxes and scores that TensorRT's EfficientNMS would have suppressed; it is done here, on every engine.

    As in the plugin, a box is a candidate of each class whose score reaches the threshold.

    Attributes:
        plugin: What the plugin did.
        relative: Whether coordinates are in 0…1 of the network input, not in pixels.
        class_offset: Added to class ids.
    """

    plugin: PluginSuppression
    relative: bool = False
    class_offset: int = 0
    name = "named_outputs"
    selective = True

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Boxes and scores."""
        return (self.plugin.boxes, self.plugin.scores)

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`."""
        factors = scale_of(size) if self.relative else np.float32(1)
        pictures = zip(outputs[self.plugin.boxes], self._scores(outputs), selections, strict=True)
        return [self._rows(boxes * factors, scores, selection) for boxes, scores, selection in pictures]

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        boxes, scores = outputs[self.plugin.boxes][0], self._scores(outputs)[0]
        if not is_share(scores):
            return f"scores reach from {scores.min():.3g} to {scores.max():.3g}, expected 0 to 1"
        if boxes.size and self.relative != are_relative(boxes):
            return f"boxes reach to {np.abs(boxes).max():.3g}, expected {'0 to 1' if self.relative else 'pixels'}"
        return ""

    def _scores(self, outputs: Outputs) -> NDArray[np.float32]:
        boxes, scores = outputs[self.plugin.boxes], outputs[self.plugin.scores]
        if scores.ndim != 3 or boxes.shape not in ((*scores.shape[:2], 4), (*scores.shape[:2], 1, 4)):
            raise ModelError(
                f"EfficientNMS' inputs are {list(boxes.shape)} and {list(scores.shape)}, expected [batch, n, 4] and "
                "[batch, n, classes]"
            )
        if self.plugin.sigmoid:
            scores = sigmoid(scores)
        if self.plugin.background >= 0:
            scores = np.delete(scores, self.plugin.background, axis=2)
        return scores

    def _rows(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], selection: Selection | None
    ) -> NDArray[np.float32]:
        selection = wanted(selection)
        if self.plugin.class_agnostic:
            selection = replace(selection, class_agnostic=True)
        place, classes = (scores >= selection.confidence).nonzero()
        confidences = scores[place, classes]
        if self.plugin.background >= 0:
            classes = classes + (classes >= self.plugin.background)  # ids stay the plugin's
        chosen = boxes.reshape(-1, 4)[place]
        if self.plugin.centred:
            chosen = corners(chosen)
        return select(chosen, confidences, classes + self.class_offset, selection, self.plugin.iou)
