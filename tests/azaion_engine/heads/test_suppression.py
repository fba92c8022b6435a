from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.heads import suppression
from azaion_engine.heads.suppression import select
from azaion_engine.pictures.prepared import Selection


def suppress(boxes, scores, classes, iou, most, agnostic=False):  # type: ignore[no-untyped-def]
    return select(boxes, scores, classes, Selection(0, iou, most, agnostic), 0.7)


def plainly(boxes, scores, classes, iou, most):  # type: ignore[no-untyped-def]
    """Says the same as `select`, pair by pair."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        box = boxes[index]
        for other in kept:
            against = boxes[other]
            width = max(0.0, min(box[2], against[2]) - max(box[0], against[0]))
            height = max(0.0, min(box[3], against[3]) - max(box[1], against[1]))
            area = (box[2] - box[0]) * (box[3] - box[1]) + (against[2] - against[0]) * (against[3] - against[1])
            union = area - width * height
            if classes[index] == classes[other] and union > 0 and width * height / union > iou:
                break
        else:
            kept.append(int(index))
    return kept[:most]


# Whole pixels in a small field: overlaps are common, and exact in float32 although classes are shifted apart.
side = st.integers(0, 40)
box = st.tuples(side, side, st.integers(1, 20), st.integers(1, 20), st.integers(0, 100), st.integers(0, 2))


@given(st.lists(box, max_size=30), st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]), st.integers(1, 30))
def test_the_boxes_that_stay_are_those_of_a_plain_reader(found: list[tuple[int, ...]], iou: float, most: int) -> None:
    values = np.array(found, np.float32).reshape(-1, 6)
    boxes = np.column_stack([values[:, :2], values[:, :2] + values[:, 2:4]])
    scores, classes = values[:, 4] / 100, values[:, 5]
    rows = suppress(boxes, scores, classes, iou, most)
    kept = plainly(boxes.astype(np.float64), scores, classes, np.float32(iou), most)
    np.testing.assert_array_equal(rows, np.column_stack([boxes, scores, classes])[kept])
    assert rows.dtype == np.float32


def test_boxes_that_touch_at_exactly_the_threshold_both_stay() -> None:
    boxes = np.array([[0, 0, 20, 10], [10, 0, 30, 10]], np.float32)  # a third of their union
    scores, classes = np.array([0.9, 0.8], np.float32), np.zeros(2, np.float32)
    assert len(suppress(boxes, scores, classes, 0.34, 10)) == 2
    assert len(suppress(boxes, scores, classes, 0.33, 10)) == 1


def test_boxes_of_two_classes_never_suppress_each_other() -> None:
    boxes = np.array([[0, 0, 20, 10]] * 3, np.float32)
    rows = suppress(boxes, np.array([0.5, 0.9, 0.8], np.float32), np.array([0, 79, 0], np.float32), 0.5, 10)
    np.testing.assert_allclose(rows[:, 4:], [[0.9, 79], [0.8, 0]], atol=1e-6)


def test_boxes_of_two_classes_do_if_asked() -> None:
    boxes = np.array([[0, 0, 20, 10]] * 3, np.float32)
    rows = suppress(boxes, np.array([0.5, 0.9, 0.8], np.float32), np.array([0, 79, 0], np.float32), 0.5, 10, True)
    np.testing.assert_allclose(rows[:, 4:], [[0.9, 79]], atol=1e-6)


def test_boxes_without_area_both_stay() -> None:
    rows = suppress(np.ones((2, 4), np.float32), np.array([0.9, 0.8], np.float32), np.zeros(2, np.float32), 0.5, 10)
    assert len(rows) == 2


def test_only_the_most_confident_candidates_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suppression, "_MOST_CANDIDATES", 2)
    boxes = np.array([[0, 0, 5, 5], [50, 0, 55, 5], [100, 0, 105, 5]], np.float32)
    rows = suppress(boxes, np.array([0.3, 0.9, 0.6], np.float32), np.zeros(3, np.float32), 0.5, 10)
    np.testing.assert_array_equal(rows[:, 0], [50, 100])
