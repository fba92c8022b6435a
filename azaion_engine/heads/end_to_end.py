"""End-to-end heads: rows of x1, y1, x2, y2, confidence, class that the network has suppressed itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import Head, Outputs, is_share, is_whole
from azaion_engine.pictures.prepared import Selection

_PIXELS = 2.0
"""Boxes none of whose coordinates is above this are not in pixels."""


@dataclass(frozen=True)
class EndToEnd(Head):
    """`[batch, n, 6]` rows, in pixels of the network input; rows are given on as they are.

    Attributes:
        output: Name of the output.
        class_offset: Added to class ids.
        columns: Columns of a row; those after the sixth (mask coefficients, keypoints) are ignored.
    """

    output: str = "output0"
    class_offset: int = 0
    columns: int = 6
    name = "end_to_end"

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one output."""
        return (self.output,)

    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """See `Head.rows`; the rows keep the network's order, and `Detections` sorts."""
        rows = outputs[self.output]
        if rows.ndim != 3 or rows.shape[2] != self.columns:
            raise ModelError(f"output {self.output!r} is {list(rows.shape)}, expected [batch, n, {self.columns}]")
        if self.columns != 6:
            rows = np.ascontiguousarray(rows[:, :, :6])
        if self.class_offset:
            rows = rows + np.array([0, 0, 0, 0, 0, self.class_offset], np.float32)
        return list(rows)

    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """See `Head.contradicts`."""
        return contradiction_of(outputs[self.output][0])


def contradiction_of(rows: NDArray[np.float32]) -> str:
    """Returns why rows cannot be boxes in pixels with confidence and class; empty if they can.

    Args:
        rows: float32 `[k, 6]` as a network gave them for a real picture; rows without confidence are ignored.
    """
    rows = rows[rows[:, 4] != 0]
    if not len(rows):
        return ""
    if not is_share(rows[:, 4]):
        return f"column 4 reaches from {rows[:, 4].min():.3g} to {rows[:, 4].max():.3g}, a confidence from 0 to 1"
    if not is_whole(rows[:, 5]):
        return "column 5 holds fractions, a class is a whole number"
    if np.abs(rows[:, :4]).max() <= _PIXELS:
        return "no coordinate is above 2, so boxes are not in pixels"
    # Most, not any: YOLO26 gives a few such boxes of nearly no confidence.
    if (rows[:, 2:4] < rows[:, :2]).any(axis=1).mean() > 0.5:
        return "in most rows x2 or y2 is below x1 or y1"
    return ""
