"""Base of all heads: their interface `Head`, and `Selection`, which boxes a caller wants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""Boxes of one picture, float32 `[k, 6]`: x1, y1, x2, y2 in pixels of the network input, confidence 0…1, class."""

Outputs = Mapping[str, NDArray[Any]]
"""Output name → array, the pictures of a batch first."""


@dataclass(frozen=True)
class Selection:
    """Which of a picture's boxes a caller wants.

    Attributes:
        confidence: Boxes above it, 0…1.
        iou: Of two boxes of a class that overlap by more than this (intersection over union, 0…1) the better one
            stays; None: the head's own.
        max_detections: At most this many boxes, the most confident ones.
    """

    confidence: float = 0.25
    iou: float | None = None
    max_detections: int = 300


ANY = Selection()


@dataclass(frozen=True)
class RawLayout:
    """What a raw output means, for a GPU that makes the rows itself.

    Attributes:
        output: Name of the output: each anchor's box as centre and size, its objectness if there is one, its scores.
        anchors_first: `[batch, anchors, values]` instead of `[batch, values, anchors]`.
        classes: Number of classes.
        objectness: Whether an anchor's fifth value multiplies its class scores.
        grid: Whether boxes are offsets and logarithms on YOLOX's grid.
        iou: Threshold where a selection names none, 0…1.
    """

    output: str
    anchors_first: bool
    classes: int
    objectness: bool
    grid: bool
    iou: float


class Head(ABC):
    """Makes rows of a network's outputs.

    Attributes:
        name: Short name of the family, as the setting `head` has it.
        outputs: Names of the outputs that `rows` reads; all others are ignored.
        selects: Whether `iou` and `max_detections` of a selection have an effect; else they are part of the network.
        iou: Threshold where a selection names none, 0…1.
        most: Maximum number of rows of a picture, whatever a selection says.
    """

    name: ClassVar[str]
    selects: ClassVar[bool] = False
    iou: float = 0.7
    most: int = 300

    def __init__(self, outputs: Sequence[str]) -> None:
        """Stores the names of the outputs."""
        self.outputs = tuple(outputs)

    def raw_layout(self) -> RawLayout | None:
        """Returns what a GPU needs to make the rows itself; None if only `rows` can."""
        return None

    @abstractmethod
    def rows(self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection]) -> list[Rows]:
        """Makes the rows of each picture of a batch.

        Args:
            outputs: At least those named in `outputs`; float32, or as the network gives them.
            size: (height, width) of the network input, in pixels.
            selections: One for each picture. Rows at or below its confidence may still be there.

        Returns:
            The rows of each picture, the most confident first.

        Raises:
            ModelError: The values are not what this head means.
        """
