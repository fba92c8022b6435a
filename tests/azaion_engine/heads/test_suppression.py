"""Suppression, against a reader that compares each pair of boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from azaion_engine.heads.suppression import select, suppress
from azaion_engine.pictures.prepared import Selection


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    shared = width * height
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return shared / union if union else 0.0


def read_pairwise(boxes: NDArray[np.float32], classes: NDArray[np.int64], iou: float, most: int) -> list[int]:
    kept: list[int] = []
    for i in range(len(boxes)):
        rivals = (k for k in kept if classes[k] == classes[i])
        if len(kept) < most and not any(overlap(*boxes[[k, i]].astype(np.float64)) > iou for k in rivals):
            kept.append(i)
    return kept


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    # Whole pixels: every product is exact in float32, so that equal overlaps are equal.
    count = draw(st.integers(0, 30))
    corners = draw(st.lists(st.tuples(*[st.integers(0, 20)] * 2), min_size=count, max_size=count))
    sizes = draw(st.lists(st.tuples(*[st.integers(0, 12)] * 2), min_size=count, max_size=count))
    classes = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    first, size = (np.array(values, np.float32).reshape(-1, 2) for values in (corners, sizes))
    return np.concatenate([first, first + size], axis=1), np.array(classes, np.int64)


@settings(max_examples=300, deadline=None)
@given(scenes(), st.sampled_from([0.0, 0.25, 0.45, 0.7, 1.0]), st.integers(1, 30))
def test_it_keeps_what_comparing_each_pair_keeps(
    scene: tuple[NDArray[np.float32], NDArray[np.int64]], iou: float, most: int
) -> None:
    boxes, classes = scene
    assert suppress(boxes, classes, iou, most).tolist() == read_pairwise(boxes, classes, iou, most)


TWO = np.array([[0, 0, 10, 10], [1, 0, 11, 10]], np.float32)
CONFIDENCES = np.array([0.5, 0.9], np.float32)


def test_boxes_of_other_classes_stay_unless_the_caller_minds() -> None:
    classes = np.array([0, 1])
    assert len(select(TWO, CONFIDENCES, classes, Selection(), 0.45)) == 2
    assert select(TWO, CONFIDENCES, classes, Selection(class_agnostic=True), 0.45)[:, 5].tolist() == [1]


def test_the_caller_s_overlap_goes_before_the_family_s() -> None:
    classes = np.zeros(2)
    assert len(select(TWO, CONFIDENCES, classes, None, 0.45)) == 1  # they overlap by 9/11
    assert len(select(TWO, CONFIDENCES, classes, Selection(iou=0.9), 0.45)) == 2


def test_rows_come_by_falling_confidence_and_at_most_as_many_as_wanted() -> None:
    rows = select(TWO, CONFIDENCES, np.array([3, 4]), None, 0.45)
    np.testing.assert_array_equal(rows[:, 4:], np.array([[0.9, 4], [0.5, 3]], np.float32))
    assert len(select(TWO, CONFIDENCES, np.array([3, 4]), Selection(max_detections=1), 0.45)) == 1


def test_eighty_classes_of_a_large_picture_do_not_touch_each_other() -> None:
    boxes = np.tile(np.array([[1000, 1000, 1270, 1270]], np.float32), (80, 1))
    assert len(suppress(boxes, np.arange(80), 0.7, 300)) == 80
