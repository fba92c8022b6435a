"""Detection: one box of a picture, in Python's own numbers."""

from __future__ import annotations

from typing import NamedTuple


class Detection(NamedTuple):
    """One box.

    Attributes:
        x1: Left edge, in pixels of the upright picture.
        y1: Upper edge.
        x2: Right edge, greater than x1.
        y2: Lower edge, greater than y1.
        confidence: 0…1.
        class_id: 0 or greater.
        class_name: Name of the class, `class_{id}` if the model has none.
        angle: Of an oriented box, radians, as in `geometry`; x1, y1, x2, y2 are then the upright box around it, clipped
            to the picture.
        corners: Its four corners x, y in pixels, clockwise as one sees them, not clipped; None for upright boxes.
        keypoints: Of a pose model: x, y in pixels and visibility 0…1 of each; else None.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    confidence: float
    class_id: int
    class_name: str
    angle: float | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None
