"""Detections: kept rows, their place in the picture, and how they are shown."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from azaion_engine.errors import InvalidTensorError
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.results.detection import Detection
from azaion_engine.results.detections import Detections

NAMES = {0: "car", 1: "truck"}
BOX = Letterbox.fit(200, 100, 100, 100)  # scale 0.5, 25 pixels of border above and below


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 6)


def test_rows_become_boxes_in_pixels_of_the_picture() -> None:
    found = Detections.from_rows(rows((10, 35, 30, 45, 0.9, 1)), BOX, NAMES)
    assert list(found) == [Detection(20, 20, 60, 40, pytest.approx(0.9), 1, "truck")]
    assert (found.boxes.dtype, found.confidences.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int64)
    assert (found.picture_width, found.picture_height) == (200, 100)


def test_boxes_are_clipped_to_the_picture() -> None:
    found = Detections.from_rows(rows((-50, -50, 500, 500, 0.9, 0)), BOX, NAMES)
    assert found.boxes.tolist() == [[0, 0, 200, 100]]


@pytest.mark.parametrize(
    "row",
    [
        (10, 35, 30, 45, 0.2, 0),
        (10, 35, 30, 45, np.nan, 0),
        (10, 35, 30, np.inf, 0.9, 0),
        (np.nan, 35, 30, 45, 0.9, 0),
        (10, 35, 30, 45, 0.9, np.nan),
        (10, 35, 30, 45, 0.9, -1),
        (10, 35, 30, 45, 0.9, 1e30),
        (30, 35, 10, 45, 0.9, 0),
        (10, 35, 10, 45, 0.9, 0),
        (10, 45, 30, 35, 0.9, 0),
        (10, 2, 30, 20, 0.9, 0),
        (0, 0, 0, 0, 0.9, 0),
    ],
    ids=[
        "low confidence", "nan confidence", "inf", "nan", "nan class", "negative class", "absurd class",
        "x swapped", "no width", "y swapped", "in the border", "padding",
    ],
)  # fmt: skip
def test_rows_that_are_no_detection_are_left_out(row: tuple[float, ...]) -> None:
    good = (10, 35, 30, 45, 0.5, 0)
    assert len(Detections.from_rows(rows(row, good, row), BOX, NAMES)) == 1


def test_the_threshold_itself_is_kept() -> None:
    assert len(Detections.from_rows(rows((10, 35, 30, 45, 0.3, 0)), BOX, NAMES, confidence=0.3)) == 1


def test_most_confident_first_and_ties_in_the_order_of_the_model() -> None:
    given_rows = rows(*((i, 35, i + 10, 45, c, i) for i, c in enumerate((0.5, 0.9, 0.5, 0.9, 0.7))))
    assert Detections.from_rows(given_rows, BOX, NAMES).class_ids.tolist() == [1, 3, 4, 0, 2]


def test_classes_can_be_chosen() -> None:
    given_rows = rows(*((10, 35, 30, 45, 0.9, i) for i in range(4)))
    assert Detections.from_rows(given_rows, BOX, NAMES, classes={1, 3, 77}).class_ids.tolist() == [1, 3]
    assert len(Detections.from_rows(given_rows, BOX, NAMES, classes=[])) == 0
    assert Detections.from_rows(given_rows, BOX, NAMES).filter(classes=[2]).class_ids.tolist() == [2]


def test_filter_raises_the_threshold() -> None:
    found = Detections.from_rows(rows((10, 35, 30, 45, 0.5, 0), (10, 35, 30, 45, 0.9, 1)), BOX, NAMES)
    assert found.filter(0.6).class_ids.tolist() == [1]
    assert len(found.filter()) == len(found) == 2


def test_nothing_found_is_an_empty_list() -> None:
    for empty in (rows(), np.zeros((300, 6), np.float32)):
        found = Detections.from_rows(empty, BOX, NAMES)
        assert (len(found), list(found), found.to_dicts()) == (0, [], [])
        assert (found.boxes.shape, found.class_ids.dtype) == ((0, 4), np.int64)


def test_half_precision_rows_are_taken() -> None:
    assert len(Detections.from_rows(rows((10, 35, 30, 45, 0.9, 1)).astype(np.float16), BOX, NAMES)) == 1


@pytest.mark.parametrize("shape", [(6,), (3, 5), (1, 3, 6)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidTensorError, match=r"\[k, 6\]"):
        Detections.from_rows(np.zeros(shape, np.float32), BOX, NAMES)


def test_a_class_without_a_name_is_called_by_its_number() -> None:
    found = Detections.from_rows(rows((10, 35, 30, 45, 0.9, 7)), BOX, NAMES)
    assert next(iter(found)).class_name == found.class_name(7) == "class_7"


def test_dicts_are_rounded_and_ready_for_json() -> None:
    found = Detections.from_rows(rows((10.1234, 35.001, 30.3333, 45, 0.87654321, 1)), BOX, NAMES)
    (entry,) = json.loads(json.dumps(found.to_dicts()))
    assert entry == {
        "x1": 20.25, "y1": 20.0, "x2": 60.67, "y2": 40.0,
        "confidence": 0.8765, "class_id": 1, "class_name": "truck",
    }  # fmt: skip


@given(
    arrays(np.float32, st.tuples(st.integers(0, 30), st.just(6)), elements=st.floats(width=32)),
    st.floats(0, 1),
    st.one_of(st.none(), st.sets(st.integers(0, 5))),
    st.tuples(*[st.integers(1, 3000)] * 4),
)
def test_whatever_the_rows_all_promises_hold(
    any_rows: np.ndarray, confidence: float, classes: set[int] | None, sizes: tuple[int, int, int, int]
) -> None:
    before = any_rows.copy()
    found = Detections.from_rows(any_rows, Letterbox.fit(*sizes), {}, confidence, classes)
    assert np.array_equal(any_rows, before, equal_nan=True)
    x1, y1, x2, y2 = found.boxes.T
    assert ((x1 >= 0) & (y1 >= 0) & (x2 <= sizes[0]) & (y2 <= sizes[1]) & (x1 < x2) & (y1 < y2)).all()
    assert (found.confidences >= np.float32(confidence)).all()
    assert (np.diff(found.confidences) <= 0).all()
    assert (found.class_ids >= 0).all()
    assert classes is None or set(found.class_ids.tolist()) <= classes
    assert len(found.filter(confidence, classes)) == len(found)
    json.dumps(found.to_dicts(), allow_nan=False)


_ODD = st.sampled_from([np.nan, np.inf, -np.inf, -0.0, 1e30, -1.0, -0.5, 0.5, 2.0**31, 2.0**31 - 128])
_CORNERS, _CLASS = st.floats(-20, 120, width=32) | _ODD, st.integers(0, 3) | _ODD


@given(
    st.lists(st.tuples(*[_CORNERS] * 4, st.sampled_from([0.3, 0.9]) | _ODD, _CLASS), max_size=12),
    st.one_of(st.none(), st.sets(st.integers(0, 3))),
    st.tuples(*[st.integers(1, 300)] * 4),
)
def test_odd_rows_are_selected_as_one_by_one(
    entries: list[tuple[float, ...]], classes: set[int] | None, sizes: tuple[int, int, int, int]
) -> None:
    letterbox = Letterbox.fit(*sizes)
    found = Detections.from_rows(rows(*entries), letterbox, {}, 0.25, classes)
    expected = one_by_one(rows(*entries), letterbox, 0.25, classes)
    ours = zip(found.boxes.tolist(), found.confidences.tolist(), found.class_ids.tolist(), strict=True)
    assert [(tuple(box), confidence, class_id) for box, confidence, class_id in ours] == expected


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(*[_CORNERS] * 4, st.sampled_from([0.2, 0.3, 0.9]) | _ODD, _CLASS), min_size=4, max_size=4
            ),
            st.tuples(*[st.integers(1, 300)] * 2),
        ),
        min_size=1,
        max_size=4,
    ),
    st.one_of(st.none(), st.sets(st.integers(0, 3))),
)
def test_a_batch_gives_each_picture_what_it_gets_alone(
    pictures: list[tuple[list[tuple[float, ...]], tuple[int, int]]], classes: set[int] | None
) -> None:
    letterboxes = [Letterbox.fit(*size, 100, 120) for _, size in pictures]
    alone = [
        Detections.from_rows(rows(*entries), letterbox, NAMES, 0.25, classes)
        for (entries, _), letterbox in zip(pictures, letterboxes, strict=True)
    ]
    together = Detections.from_batch(
        np.stack([rows(*entries) for entries, _ in pictures]), letterboxes, NAMES, 0.25, classes
    )
    for one, other in zip(together, alone, strict=True):
        assert list(one) == list(other)
        assert (one.picture_width, one.picture_height) == (other.picture_width, other.picture_height)


def one_by_one(
    given_rows: np.ndarray, letterbox: Letterbox, threshold: float, classes: set[int] | None
) -> list[tuple[tuple[float, ...], float, int]]:
    """Reads rows in plain Python: (box, confidence, class) of each that is kept, most confident first."""
    sizes = (letterbox.picture_width, letterbox.picture_height) * 2
    pads, scales = (letterbox.pad_left, letterbox.pad_top) * 2, (letterbox.scale_x, letterbox.scale_y) * 2
    kept = []
    for row in given_rows.tolist():
        *corners, confidence, class_found = row
        if not all(map(math.isfinite, row)) or confidence < threshold or not -0.5 <= class_found < 2**31 - 1:
            continue
        places = zip(corners, pads, scales, sizes, strict=True)
        box = tuple(float(np.float32(min(max(0.0, (at - pad) / scale), size))) for at, pad, scale, size in places)
        class_id = round(class_found)
        if box[0] < box[2] and box[1] < box[3] and (classes is None or class_id in classes):
            kept.append((box, confidence, class_id))
    return sorted(kept, key=lambda one: -one[1])


@given(st.lists(st.tuples(st.floats(0, 90), st.floats(0, 40), st.floats(0.26, 1), st.integers(0, 9)), max_size=20))
def test_every_proper_row_is_kept(entries: list[tuple[float, float, float, int]]) -> None:
    proper = rows(*((x, 25 + y, x + 5, 30 + y, c, k) for x, y, c, k in entries))
    found = Detections.from_rows(proper, BOX, NAMES)
    assert sorted(found.class_ids.tolist()) == sorted(k for *_, k in entries)


@pytest.mark.parametrize("count", [0, 3])
def test_pickled_they_are_the_same_and_can_be_written_to(count: int) -> None:
    found = Detections.from_rows(rows(*[(10, 35, 30, 45, 0.9, 1)] * count), BOX, NAMES)
    copy = pickle.loads(pickle.dumps(found))
    for name in ("boxes", "confidences", "class_ids"):
        ours, theirs = getattr(found, name), getattr(copy, name)
        assert (ours.dtype, ours.shape, ours.tolist()) == (theirs.dtype, theirs.shape, theirs.tolist())
        assert theirs.flags.writeable
    assert (copy.picture_width, copy.picture_height, copy.names) == (200, 100, NAMES)


def test_drawing_wants_the_picture_of_the_detections() -> None:
    found = Detections.from_rows(rows((10, 35, 30, 45, 0.9, 1)), BOX, NAMES)
    assert found.draw(np.zeros((100, 200, 3), np.uint8)).any()
    with pytest.raises(InvalidTensorError, match="100, 200, 3"):
        found.draw(np.zeros((200, 100, 3), np.uint8))


# --- oriented boxes -----------------------------------------------------------------------------

TURNED = (50, 50, 40, 20, 0.9, 1, math.pi / 2)
"""In pixels of the network input of `BOX`: half the picture's, 25 pixels of border above."""


def oriented(*values: tuple[float, ...], box: Letterbox = BOX) -> Detections:
    return Detections.from_rows(np.array(values, np.float32).reshape(-1, 7), box, NAMES)


def test_rows_with_an_angle_become_oriented_boxes_and_the_upright_ones_around_them() -> None:
    found = oriented(TURNED)
    assert found.oriented is not None
    np.testing.assert_allclose(found.oriented, [[100, 50, 80, 40, math.pi / 2]], atol=1e-4)
    assert found.oriented.dtype == np.float32
    np.testing.assert_allclose(found.boxes, [[80, 10, 120, 90]], atol=1e-4)
    np.testing.assert_allclose(found.corners, [[[120, 10], [120, 90], [80, 90], [80, 10]]], atol=1e-4)
    [one] = found
    assert (one.angle, one.class_name) == (pytest.approx(math.pi / 2), "truck")
    np.testing.assert_allclose(one.corners, [[120, 10], [120, 90], [80, 90], [80, 10]], atol=1e-4)


def test_the_upright_box_is_clipped_to_the_picture_and_the_corners_are_not() -> None:
    found = oriented((0, 50, 40, 20, 0.9, 1, 0))
    np.testing.assert_allclose(found.boxes, [[0, 30, 40, 70]], atol=1e-4)
    np.testing.assert_allclose(found.corners, [[[-40, 30], [40, 30], [40, 70], [-40, 70]]], atol=1e-4)


def test_dicts_of_oriented_boxes_have_angle_and_corners_and_others_have_not() -> None:
    [box] = oriented(TURNED).to_dicts()
    assert box["angle"] == 1.5708
    assert box["corners"] == [[120, 10], [120, 90], [80, 90], [80, 10]]
    assert json.loads(json.dumps(box)) == box
    upright = Detections.from_rows(rows((10, 35, 30, 45, 0.9, 1)), BOX, NAMES)
    assert list(upright.to_dicts()[0]) == ["x1", "y1", "x2", "y2", "confidence", "class_id", "class_name"]
    assert upright.corners is None


def test_oriented_boxes_follow_their_confidences() -> None:
    found = oriented(TURNED, (30, 40, 10, 8, 0.95, 0, 0.2), (60, 60, 8, 8, 0.4, 1, 0.3))
    assert found.oriented is not None
    np.testing.assert_allclose(found.oriented[:, 4], [0.2, math.pi / 2, 0.3], atol=1e-6)
    for kept in (found.first(1), found.filter(0.92), found.filter(classes=[0])):
        assert kept.oriented is not None
        np.testing.assert_allclose(kept.oriented[:, 4], [0.2], atol=1e-6)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.oriented, found.oriented)
    assert again.to_dicts() == found.to_dicts()


def test_an_angle_without_bounds_is_brought_into_range() -> None:
    found = oriented((50, 50, 40, 20, 0.9, 1, 0.4 + 5 * math.pi))
    assert found.oriented is not None
    assert found.oriented[0, 4] == pytest.approx(0.4, abs=1e-5)


@pytest.mark.parametrize(
    "row",
    [
        (50, 50, 0, 20, 0.9, 1, 0.1),
        (50, 50, 40, 20, 0.9, 1, np.nan),
        (50, 10, 20, 10, 0.9, 1, 0.0),
        (50, 50, 40, 20, 0.1, 1, 0.0),
    ],
    ids=["no width", "nan angle", "in the border", "low confidence"],
)
def test_rows_that_are_no_oriented_box_are_left_out(row: tuple[float, ...]) -> None:
    found = oriented(row)
    assert len(found) == 0
    assert found.oriented is not None
    assert found.oriented.shape == (0, 5)
    assert found.corners is not None
    assert found.to_dicts() == []


def test_each_picture_of_a_batch_has_its_own_transform() -> None:
    boxes = [BOX, Letterbox.fit(50, 100, 100, 100)]
    table = np.array([[TURNED], [TURNED]], np.float32)
    first, second = Detections.from_batch(table, boxes, NAMES)
    assert first.oriented is not None
    assert second.oriented is not None
    np.testing.assert_allclose(first.oriented[0, :4], [100, 50, 80, 40], atol=1e-4)
    np.testing.assert_allclose(second.oriented[0, :4], [25, 50, 40, 20], atol=1e-4)


def test_oriented_boxes_are_drawn_turned() -> None:
    drawn = oriented((50, 50, 40, 40, 0.9, 1, math.pi / 4)).draw(np.zeros((100, 200, 3), np.uint8))
    assert drawn[50, 40:50].any()  # the left corner, 40 * sqrt(2) pixels left of the centre
    assert not drawn[80:100, 40:60].any()  # the upright box's lower left corner
