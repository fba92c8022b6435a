"""Suppression of oriented boxes, against ProbIoU by numerical integration and a reader that compares each pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from azaion_engine.heads.oriented_suppression import distance_at, probiou, select_oriented, suppress_oriented
from azaion_engine.pictures.prepared import Selection


def density(box: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal distribution with the mean and the covariance of a uniform one on the box."""
    cx, cy, width, height, angle = box
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    covariance = turn @ np.diag([width**2 / 12, height**2 / 12]) @ turn.T
    offset = np.stack([x - cx, y - cy])
    exponent = np.einsum("iab,ij,jab->ab", offset, np.linalg.inv(covariance), offset)
    return np.exp(-exponent / 2) / (2 * math.pi * math.sqrt(np.linalg.det(covariance)))


def integrated(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """One less the Hellinger distance, by the trapezoid rule on the plane."""
    x, y = np.meshgrid(np.linspace(-150, 150, 1201), np.linspace(-150, 150, 1201))
    shared = np.sqrt(density(one, x, y) * density(other, x, y)).sum() * 0.25**2
    return 1 - math.sqrt(max(0.0, 1 - shared))


PAIRS = {
    "equal": ([0, 0, 40, 10, 0.3], [0, 0, 40, 10, 0.3]),
    "shifted": ([0, 0, 40, 10, 0], [12, 3, 40, 10, 0]),
    "crossed": ([0, 0, 60, 12, 0.2], [0, 0, 60, 12, 0.2 + math.pi / 2]),
    "turned and shifted": ([-5, 4, 50, 20, -0.7], [3, -2, 30, 25, 2.1]),
    "one in the other": ([0, 0, 60, 50, 0.4], [2, 1, 10, 6, 1.4]),
    "apart": ([-60, 0, 20, 10, 0.5], [60, 0, 20, 10, 0.1]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_probiou_is_that_of_the_normal_distributions(name: str) -> None:
    one, other = (np.array([box]) for box in PAIRS[name])
    expected = integrated(one[0], other[0])
    [[found]] = probiou(one.astype(np.float32), other.astype(np.float32))
    [[back]] = probiou(other.astype(np.float32), one.astype(np.float32))
    assert found == pytest.approx(expected, abs=2e-3)
    assert back == pytest.approx(found, abs=1e-6)


def test_a_long_thin_box_keeps_its_precision_in_float32() -> None:
    turned = np.array([[300, 300, 900, 2, math.pi / 4]], np.float32)
    flat = np.array([[300, 300, 900, 2, 0]], np.float32)
    for by in (0.0, 0.5, 1.0, 3.0):  # pixels across
        shift = by * np.array([[-math.sin(math.pi / 4), math.cos(math.pi / 4), 0, 0, 0]], np.float32)
        [[slanting]] = probiou(turned, turned + shift.astype(np.float32))
        [[straight]] = probiou(flat, flat + np.array([[0, by, 0, 0, 0]], np.float32))
        assert slanting == pytest.approx(straight, abs=1e-3)


@pytest.mark.parametrize("iou", [0.0, 0.1, 0.45, 0.7, 0.95])
def test_the_limit_of_the_distance_is_that_of_the_overlap(iou: float) -> None:
    near, far = (1 - math.sqrt(1 - math.exp(-distance_at(iou) * factor) + 1e-7) for factor in (0.999, 1.001))
    assert far < iou < near
    assert distance_at(1.0) == -math.inf


@st.composite
def scenes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    count = draw(st.integers(0, 40))
    seed = draw(st.integers(0, 10**6))
    random = np.random.default_rng(seed)
    sizes = 10 ** random.uniform(draw(st.sampled_from([-2.0, 0.5])), 1.7, (count, 2))  # pixels, from a hundredth on
    places, angles = random.uniform(0, 30, (count, 2)), random.uniform(-2, 4, (count, 1))
    boxes = np.concatenate([places, sizes, angles], axis=1)
    return boxes.astype(np.float32), random.integers(0, 3, count)


@settings(max_examples=400, deadline=None)
@given(scenes(), st.sampled_from([0.0, 0.2, 0.45, 0.7, 1.0]), st.integers(1, 40))
def test_a_box_goes_if_a_more_confident_one_of_its_class_overlaps_it_even_one_that_goes(
    scene: tuple[NDArray[np.float32], NDArray[np.int64]], iou: float, most: int
) -> None:
    boxes, classes = scene
    overlaps = probiou(boxes, boxes)
    kept = [
        i for i in range(len(boxes)) if not any(overlaps[i, k] > iou and classes[k] == classes[i] for k in range(i))
    ]
    near = np.abs(overlaps - iou) < 1e-5  # rounding decides there
    if not (near & np.tri(len(boxes), k=-1, dtype=bool)).any():
        assert suppress_oriented(boxes, classes, iou, most).tolist() == kept[:most]


def test_a_chain_of_overlaps_keeps_its_first_box_only() -> None:
    chain = np.array([[10 + 6 * i, 20, 40, 40, 0.3] for i in range(4)], np.float32)
    overlaps = probiou(chain, chain)
    assert overlaps[0, 1] > 0.7 > overlaps[0, 2]  # the third box overlaps the second, which is dropped
    assert suppress_oriented(chain, np.zeros(4), 0.7, 300).tolist() == [0]


def test_more_candidates_than_are_compared_at_once_are_all_compared() -> None:
    one = np.array([[50, 50, 40, 20, 0.5]], np.float32)
    assert suppress_oriented(np.repeat(one, 700, axis=0), np.zeros(700), 0.7, 300).tolist() == [0]
    assert len(suppress_oriented(np.repeat(one, 700, axis=0), np.arange(700), 0.7, 300)) == 300


TWO = np.array([[50, 50, 40, 20, 0.5], [51, 50, 40, 20, 0.5]], np.float32)
CONFIDENCES = np.array([0.5, 0.9], np.float32)


def test_rows_have_the_angle_last_and_come_by_falling_confidence() -> None:
    rows = select_oriented(TWO, CONFIDENCES, np.array([3, 4]), None, 0.7)
    np.testing.assert_array_equal(
        rows, np.array([[51, 50, 40, 20, 0.9, 4, 0.5], [50, 50, 40, 20, 0.5, 3, 0.5]], np.float32)
    )


def test_the_caller_chooses_overlap_number_and_whether_classes_count() -> None:
    same, apart = np.zeros(2), np.array([0, 1])
    assert len(select_oriented(TWO, CONFIDENCES, same, None, 0.7)) == 1
    assert len(select_oriented(TWO, CONFIDENCES, same, Selection(iou=0.99), 0.7)) == 2
    assert len(select_oriented(TWO, CONFIDENCES, apart, Selection(max_detections=1), 0.7)) == 1
    assert select_oriented(TWO, CONFIDENCES, apart, Selection(class_agnostic=True), 0.7)[:, 5].tolist() == [1]


@pytest.mark.filterwarnings("error")
def test_boxes_that_are_no_numbers_or_have_no_area_do_not_stop_it() -> None:
    boxes = np.array([[np.nan] * 5, [5, 5, 0, 0, 0], [50, 50, 40, 20, 0], [50, 50, np.inf, 20, 0]], np.float32)
    assert {0, 2} <= set(suppress_oriented(boxes, np.zeros(4), 0.7, 300).tolist())
