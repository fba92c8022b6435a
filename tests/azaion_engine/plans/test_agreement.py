from __future__ import annotations

import numpy as np

from azaion_engine.plans.agreement import Agreement

EXPECTED = np.array([[10, 10, 50, 50, 0.9, 0], [100, 10, 150, 50, 0.6, 1], [200, 10, 250, 50, 0.1, 0]], np.float32)


def compare(found: np.ndarray, expected: np.ndarray = EXPECTED) -> Agreement:
    return Agreement.of([found], [expected], "fp16", 0.25, 2.0)


def test_equal_boxes_agree_whatever_their_order_and_padding() -> None:
    found = np.concatenate([EXPECTED[::-1], np.zeros((4, 6), np.float32)])
    made = compare(found)
    assert (made.boxes, made.matched, made.largest_px, made.largest_confidence) == (2, 2, 0, 0)
    assert made.holds


def test_the_largest_differences_are_told() -> None:
    made = compare(EXPECTED + np.array([0, 1.5, 0, 0, -0.03, 0], np.float32))
    assert (made.matched, made.largest_px) == (2, 1.5)
    assert abs(made.largest_confidence - 0.03) < 1e-4
    assert "2 of 2 boxes as with ONNX Runtime, at most 1.5 px" in str(made)


def test_another_place_class_or_confidence_is_no_match() -> None:
    for change in ([3, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0.2, 0]):
        made = compare(EXPECTED + np.array(change, np.float32))
        assert (made.boxes, made.matched, made.holds) == (2, 0, False)


def test_each_box_matches_once() -> None:
    twice = np.concatenate([EXPECTED[:1], EXPECTED[:1]])
    assert compare(EXPECTED[:1], twice).matched == 1


def test_a_few_boxes_may_differ() -> None:
    many = np.repeat(EXPECTED[:1], 20, axis=0) + np.arange(20)[:, None] * np.array([60, 0, 60, 0, 0, 0])
    assert compare(many[1:], many).holds
    assert not compare(many[3:], many).holds


def test_without_a_box_nothing_is_proven() -> None:
    made = compare(EXPECTED, EXPECTED[2:])
    assert made.holds
    assert "nothing was compared" in str(made)
    assert compare(np.empty((0, 6), np.float32)).matched == 0


ORIENTED = np.array([[50, 50, 40, 20, 0.9, 0, 0.3], [120, 50, 30, 30, 0.6, 1, 2.0]], np.float32)


def test_oriented_boxes_agree_whatever_form_they_have() -> None:
    turned = ORIENTED[:, [0, 1, 3, 2, 4, 5, 6]] + np.array([0, 0, 0, 0, 0, 0, np.pi / 2], np.float32)
    made = compare(np.concatenate([turned, np.zeros((3, 7), np.float32)]), ORIENTED)
    assert (made.boxes, made.matched) == (2, 2)
    assert made.largest_px < 1e-3


def test_another_angle_of_an_oriented_box_is_no_match() -> None:
    assert compare(ORIENTED + np.array([0, 0, 0, 0, 0, 0, 0.02], np.float32), ORIENTED).largest_px > 0.2
    made = compare(ORIENTED + np.array([0, 0, 0, 0, 0, 0, 0.3], np.float32), ORIENTED)
    assert (made.matched, made.holds) == (0, False)
    assert compare(ORIENTED[:0], ORIENTED).matched == 0


POSES = np.array([[10, 10, 50, 50, 0.9, 0, 12, 14, 0.9, 40, 44, 0.2], [9, 9, 30, 30, 0.8, 1, 12, 14, 0.6, 20, 24, 1]])


def test_visible_keypoints_count_as_corners() -> None:
    unseen, seen, sure = np.zeros((3, 2, 12))
    unseen[0, [9, 10]], seen[1, 10], sure[0, 8] = 40, 1.5, -0.4
    poses = POSES.astype(np.float32)
    assert compare((poses + unseen).astype(np.float32), poses).largest_px == 0
    assert compare((poses + sure).astype(np.float32), poses).matched == 2
    made = compare((poses + seen).astype(np.float32), poses)
    assert (made.matched, made.largest_px) == (2, 1.5)
    made = compare((poses + 2 * seen).astype(np.float32), poses)
    assert (made.matched, made.holds) == (1, False)
    assert compare(np.zeros((0, 12), np.float32), poses).matched == 0
