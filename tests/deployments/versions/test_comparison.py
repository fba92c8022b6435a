"""Comparison of two versions' boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.results.detections import Detections
from deployments.versions.comparison import compare


class Finder:
    """Stands in for a detector: finds the same boxes in every picture."""

    def __init__(self, *boxes: tuple[float, float, float, float, int], names: dict[int, str] | None = None) -> None:
        rows = np.array([[*box[:4], 0.9, box[4]] for box in boxes], np.float32).reshape(-1, 6)
        self._found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), 100, 100, names or {})

    def detect(self, pictures: list[bytes]) -> list[Detections]:
        if pictures == [b"broken"]:
            raise UndecodablePictureError("it is damaged")
        return [self._found]


def compared(before: Finder, after: Finder, pictures: tuple[bytes, ...] = (b"a",)) -> Any:
    return compare(before, after, pictures)  # type: ignore[arg-type]


def test_boxes_of_one_class_that_overlap_by_half_are_the_same_object() -> None:
    before = Finder((0, 0, 10, 10, 0), (50, 50, 60, 60, 0), (80, 80, 90, 90, 1))
    after = Finder((0, 0, 10, 8, 0), (50, 50, 60, 54, 0), (80, 80, 90, 90, 2))
    found = compared(before, after)
    assert (found.pictures, found.before, found.after, found.matched) == (1, 3, 3, 1)
    assert found.mean_iou == pytest.approx(0.8)
    assert found.share == pytest.approx(1 / 3)
    assert str(found).startswith("33.3% agree: 1 boxes of both in 1 pictures, 3 before and 3 now, mean IoU 0.80")


def test_a_box_has_one_partner() -> None:
    twice = Finder((0, 0, 10, 10, 0), (0, 0, 10, 10, 0))
    assert compared(twice, Finder((0, 0, 10, 10, 0))).matched == 1


def test_classes_are_compared_by_name() -> None:
    before = Finder((0, 0, 10, 10, 0), names={0: "car"})
    assert compared(before, Finder((0, 0, 10, 10, 7), names={7: "car"})).share == 1
    assert compared(before, Finder((0, 0, 10, 10, 0), names={0: "ship"})).share == 0


def test_pictures_that_cannot_be_used_and_empty_ones_are_no_disagreement() -> None:
    assert compared(Finder(), Finder(), (b"a", b"broken"))[:4] == (1, 0, 0, 0)
    assert compared(Finder(), Finder()).share == 1
