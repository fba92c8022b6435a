"""Geometry of oriented boxes: order of the corners, range of the angle, comparison of rectangles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.geometry import corners_of, enclosing, in_range, largest_corner_difference

places, sides, angles = st.floats(-500, 500), st.floats(1, 500), st.floats(-10, 10)
boxes = st.tuples(places, places, sides, sides, angles).map(np.array)


def test_a_quarter_turn_is_clockwise_as_one_sees_it() -> None:
    upright, turned = corners_of(np.array([[50, 40, 20, 10, 0], [50, 40, 20, 10, math.pi / 2]]))
    np.testing.assert_allclose(upright, [[40, 35], [60, 35], [60, 45], [40, 45]])
    np.testing.assert_allclose(turned, [[55, 30], [55, 50], [45, 50], [45, 30]])


@given(boxes)
def test_corners_go_round_clockwise_from_the_width(box: np.ndarray) -> None:
    x, y, width, height, angle = box
    [corners] = corners_of(box[None])
    steps = np.roll(corners, -1, axis=0) - corners
    np.testing.assert_allclose(np.hypot(*steps.T), [width, height, width, height], atol=1e-6)
    # With y down, a positive cross product is a turn clockwise as one sees it.
    assert all(a[0] * b[1] - a[1] * b[0] > 0 for a, b in zip(steps, np.roll(steps, -1, axis=0), strict=True))
    assert math.sin(math.atan2(*steps[0][::-1]) - angle) == pytest.approx(0, abs=1e-6)
    assert math.cos(math.atan2(*steps[0][::-1]) - angle) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(corners.mean(axis=0), [x, y], atol=1e-6)


@given(st.floats(-100, 100))
def test_an_angle_in_range_differs_by_multiples_of_pi(angle: float) -> None:
    [found] = in_range(np.array([angle]))
    assert -math.pi / 4 - 1e-6 <= found <= 3 * math.pi / 4 + 1e-6
    assert math.sin(found - angle) == pytest.approx(0, abs=1e-9)


def test_an_angle_that_is_in_range_stays_to_the_last_bit() -> None:
    edge = np.float32(-math.pi / 4)  # as a network gives it: just below the range in exact numbers
    given = np.array([edge, 0.1, 3 * math.pi / 4 - 1e-9])
    np.testing.assert_array_equal(in_range(given), given)


@given(boxes, st.integers(-3, 3))
def test_the_forms_of_a_rectangle_are_one_rectangle(box: np.ndarray, turns: int) -> None:
    x, y, width, height, angle = box
    sides = (width, height) if turns % 2 == 0 else (height, width)
    other = np.array([x, y, *sides, angle + turns * math.pi / 2])
    assert largest_corner_difference(other[None], box)[0] < 1e-6
    assert largest_corner_difference(other[None] + [[3, 0, 0, 0, 0]], box)[0] == pytest.approx(3)


def test_the_enclosing_box_touches_every_side() -> None:
    [box] = enclosing(corners_of(np.array([[50, 40, 30 * math.sqrt(2), 10 * math.sqrt(2), math.pi / 4]])))
    np.testing.assert_allclose(box, [30, 20, 70, 60])
