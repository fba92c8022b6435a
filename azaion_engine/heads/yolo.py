"""YOLO heads: raw boxes and class scores of each anchor, as Ultralytics, YOLOv5 and YOLOv7 export them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from azaion_engine.heads.base import Head, Outputs, RawLayout, Rows, Selection
from azaion_engine.heads.suppression import suppress


class YoloHead(Head):
    """Ultralytics' raw head: `[batch, 4 + classes + more, anchors]`, boxes as centre and size in network pixels.

    Scores are probabilities already. Further columns (masks, keypoints) are ignored.
    """

    name = "yolo"
    selects = True
    objectness: ClassVar[bool] = False
    grid: ClassVar[bool] = False

    def __init__(self, output: str, classes: int, anchors_first: bool = False) -> None:
        """Describes the output.

        Args:
            output: Its name.
            classes: Number of classes.
            anchors_first: Whether it is `[batch, anchors, 4 + classes]` instead.
        """
        super().__init__([output])
        self.classes = classes
        self.anchors_first = anchors_first

    def raw_layout(self) -> RawLayout:
        """Returns what the GPU's kernels need."""
        return RawLayout(self.outputs[0], self.anchors_first, self.classes, self.objectness, self.grid, self.iou)

    def rows(self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection]) -> list[Rows]:
        """Makes the rows of each picture: threshold, then suppression."""
        return [
            self._rows(values.T if self.anchors_first else values, size, selection)
            for values, selection in zip(outputs[self.outputs[0]], selections, strict=True)
        ]

    def _rows(self, values: NDArray[np.float32], size: tuple[int, int], selection: Selection) -> Rows:
        """Makes the rows of one picture: values are `[4 + …, anchors]`."""
        threshold = np.float32(selection.confidence)
        if self.objectness:
            [kept] = (values[4] > threshold).nonzero()  # the product with a class's score is no larger
            scores = values[5 : 5 + self.classes, kept] * values[4, kept]
        else:
            scores = values[4 : 4 + self.classes]
            kept = np.arange(scores.shape[1])
        best = scores.max(axis=0)
        [good] = (best > threshold).nonzero()
        kept = kept[good]
        return suppress(
            self._boxes(values[:4, kept], kept, size),
            best[good],
            scores[:, good].argmax(axis=0).astype(np.float32),
            self.iou if selection.iou is None else selection.iou,
            min(selection.max_detections, self.most),
        )

    def _boxes(
        self, values: NDArray[np.float32], anchors: NDArray[np.intp], size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Makes boxes `[n, 4]` of corners from values `[4, n]` of the anchors with these indices."""
        centre, half = values[:2], values[2:] / 2
        boxes: NDArray[np.float32] = np.concatenate([centre - half, centre + half]).T
        return boxes


class AnchorYoloHead(YoloHead):
    """YOLOv5's and YOLOv7's head: `[batch, anchors, 5 + classes + more]`; confidence = objectness × class score."""

    name = "yolov5"
    objectness = True
    iou = 0.45
    """Their `non_max_suppression`'s default."""

    def __init__(self, output: str, classes: int, anchors_first: bool = True) -> None:
        """As `YoloHead`; the output is `[batch, anchors, 5 + classes]` unless `anchors_first` is False."""
        super().__init__(output, classes, anchors_first)
