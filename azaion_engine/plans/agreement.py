"""Agreement: how far a built engine's boxes agree with ONNX Runtime's for the same pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from azaion_engine.geometry import largest_corner_difference

LEAST_MATCHED = 0.9
"""Share of the reference's boxes that must be found again; near ties of suppression may change the others."""

CONFIDENCE_OFF = 0.1
"""Largest difference of the confidences of two boxes that match; FP16 usually stays below 0.01."""

_ORIENTED = [0, 1, 2, 3, 6]
"""Columns of an oriented box."""

Rows = NDArray[np.float32]
"""float32 `[k, 6]`: x1, y1, x2, y2, confidence, class; or of oriented boxes `[k, 7]`: cx, cy, w, h, confidence, class,
angle; or of poses `[k, 6 + 3 * count]`: then x, y and visibility of each keypoint."""

_VISIBLE = 0.5
"""Visibility from which on a keypoint of the reference counts as a corner of its box."""


class Agreement(BaseModel):
    """Boxes of an engine compared with the reference's, in pixels of the network input.

    Two boxes match if they are of one class, no corner and no visible keypoint differs by more than the tolerance, and
    the confidences by no more than `CONFIDENCE_OFF`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: str = Field(description="Precision that the engine was built in.")
    boxes: int = Field(ge=0, description="Boxes of the reference above the threshold.")
    matched: int = Field(ge=0, description="Those that the engine found, too.")
    largest_px: float = Field(ge=0, description="Largest difference of a corner's coordinate among them, pixels.")
    largest_confidence: float = Field(ge=0, description="Largest difference of a confidence among them.")

    @classmethod
    def of(
        cls, found: Sequence[Rows], expected: Sequence[Rows], precision: str, confidence: float, tolerance_px: float
    ) -> Agreement:
        """Compares the boxes of several pictures.

        Args:
            found: The engine's rows of each picture.
            expected: The reference's.
            precision: Of the engine.
            confidence: Boxes of the reference at or above it count, 0…1.
            tolerance_px: Largest difference of a coordinate of two boxes that match, pixels of the network input.
        """
        boxes, corners, confidences = 0, [0.0], [0.0]
        for ours, theirs in zip(found, expected, strict=True):
            left = ours[ours[:, 4] > 0].astype(np.float64)
            for row in theirs[theirs[:, 4] >= confidence].astype(np.float64):
                boxes += 1
                if len(row) == 7:
                    corner = largest_corner_difference(left[:, _ORIENTED], row[_ORIENTED])
                else:
                    corner = np.abs(left[:, :4] - row[:4]).max(axis=1, initial=0)
                    seen = np.repeat(row[8::3] >= _VISIBLE, 3) & (np.arange(len(row) - 6) % 3 < 2)
                    points = np.abs(left[:, 6 : len(row)] - row[6:])[:, seen]
                    corner = np.maximum(corner, points.max(axis=1, initial=0))
                surer = np.abs(left[:, 4] - row[4])
                fits = (left[:, 5] == row[5]) & (corner <= tolerance_px) & (surer <= CONFIDENCE_OFF)
                if fits.any():
                    best = int(np.where(fits, corner, np.inf).argmin())
                    corners.append(float(corner[best]))
                    confidences.append(float(surer[best]))
                    left = np.delete(left, best, axis=0)
        return cls(
            precision=precision,
            boxes=boxes,
            matched=len(corners) - 1,
            largest_px=round(max(corners), 4),
            largest_confidence=round(max(confidences), 5),
        )

    @property
    def holds(self) -> bool:
        """Whether enough boxes match; true if the reference found none, which proves nothing."""
        return self.matched >= LEAST_MATCHED * self.boxes

    def __str__(self) -> str:
        if not self.boxes:
            return "ONNX Runtime finds no box on the samples: nothing was compared"
        return (
            f"{self.matched} of {self.boxes} boxes as with ONNX Runtime, "
            f"at most {self.largest_px:g} px and {self.largest_confidence:g} off"
        )
