"""Selection: which boxes a caller wants of one picture."""

from __future__ import annotations

from dataclasses import dataclass

MOST_BOXES = 300
"""Boxes a picture by default, as Ultralytics' `max_det`."""

LEAST_CONFIDENCE = 0.001
"""Threshold for pictures whose caller names none yet: boxes below it are noise in every detector."""


@dataclass(frozen=True)
class Selection:
    """What a caller wants of one picture; only heads that suppress overlapping boxes themselves follow it.

    Attributes:
        confidence: Boxes at or above it are kept, 0…1.
        iou: Boxes that overlap a more confident one by more than this are dropped, 0…1; None: as the head's family.
        max_detections: Largest number of boxes, the most confident ones.
        class_agnostic: Whether a box also suppresses boxes of other classes.
    """

    confidence: float = LEAST_CONFIDENCE
    iou: float | None = None
    max_detections: int = MOST_BOXES
    class_agnostic: bool = False
