"""Tests of `benchmarks.library.gpu_record.compare`: boxes match once; boxes that only one result has are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from azaion_engine import Detections
from benchmarks.library.gpu_record import compare


def boxes(*rows: Sequence[float]) -> Detections:
    """Makes boxes of 20x20 pixels from rows of left edge, confidence and class."""
    given = np.array(rows, np.float32).reshape(-1, 3)
    left = given[:, :1]
    corners = np.concatenate([left, left * 0, left + 20, left * 0 + 20], 1)
    return Detections(corners, given[:, 1], given[:, 2].astype(np.int64), 1000, 1000, {})


@pytest.mark.parametrize(
    ("ours", "reference", "missing", "extra"),
    [
        ([], [], 0, 0),
        ([(10, 0.9, 0)], [(11, 0.8, 0)], 0, 0),
        ([(10, 0.9, 0)], [(10, 0.9, 0), (12, 0.8, 0)], 1, 0),  # one box cannot match two
        ([(10, 0.9, 0), (12, 0.8, 0)], [(10, 0.9, 0)], 0, 1),
        ([(10, 0.9, 1)], [(10, 0.9, 0)], 1, 1),  # another class
        ([(10, 0.9, 0)], [(15, 0.9, 0)], 1, 1),  # 5 px apart
        ([(10, 0.26, 0)], [], 0, 0),  # within MARGIN of the threshold: may be absent from the other result
        ([(10, 0.28, 0)], [(10, 0.24, 0)], 0, 0),
    ],
)
def test_missing_and_extra(
    ours: list[Sequence[float]], reference: list[Sequence[float]], missing: int, extra: int
) -> None:
    found = compare(boxes(*ours), boxes(*reference))
    assert (found["missing"], found["extra"]) == (missing, extra)


def test_the_largest_differences_are_those_of_matched_boxes() -> None:
    found = compare(boxes((10, 0.9, 0), (101.5, 0.7, 0)), boxes((10.5, 0.9, 0), (100, 0.75, 0)))
    assert found["boxes"] == 2
    assert found["largest_corner_difference_px"] == 1.5
    assert found["largest_confidence_difference"] == pytest.approx(0.05)
