"""Shared areas of upright and oriented boxes."""

from __future__ import annotations

import cv2
import numpy as np

from azaion_engine.tiling.rectangles import shared_areas, shared_oriented_areas


def test_upright_boxes_share_what_lies_in_both() -> None:
    boxes = np.array([[0, 0, 10, 10]] * 3, np.float32)
    others = np.array([[5, 5, 20, 20], [10, 0, 20, 10], [30, 30, 40, 40]], np.float32)
    assert shared_areas(boxes, others).tolist() == [25, 0, 0]


def test_oriented_boxes_share_what_opencv_finds() -> None:
    rng = np.random.default_rng(7)

    def some(count: int) -> np.ndarray:
        return np.concatenate(
            [rng.uniform(0, 30, (count, 2)), rng.uniform(1, 40, (count, 2)), rng.uniform(-4, 4, (count, 1))], axis=1
        ).astype(np.float32)

    boxes, others = some(300), some(300)
    expected = []
    for a, b in zip(boxes.tolist(), others.tolist(), strict=True):
        turned = [((x, y), (width, height), float(np.degrees(angle))) for x, y, width, height, angle in (a, b)]
        kind, points = cv2.rotatedRectangleIntersection(*turned)
        expected.append(cv2.contourArea(cv2.convexHull(points)) if kind else 0.0)
    assert np.allclose(shared_oriented_areas(boxes, others), expected, rtol=1e-3, atol=0.05)


def test_equal_upright_and_quarter_turned_oriented_boxes_are_exact() -> None:
    quarter = np.pi / 2
    boxes = np.array([[50, 50, 20, 10, 0], [50, 50, 20, 10, 0.3], [50, 50, 20, 10, 0], [50, 50, 8, 8, 0]], np.float32)
    others = np.array(
        [[50, 50, 20, 10, 0], [50, 50, 20, 10, 0.3], [50, 50, 20, 10, quarter], [50, 50, 8, 8, quarter / 2]], np.float32
    )
    octagon = 64 * 2 * (2**0.5 - 1)
    assert np.allclose(shared_oriented_areas(boxes, others), [200, 200, 100, octagon], rtol=1e-5)


def test_distant_oriented_boxes_share_nothing() -> None:
    one = np.array([[100, 100, 30, 10, 1]], np.float32)
    other = np.array([[60_000, 60_000, 30, 10, 2]], np.float32)
    assert shared_oriented_areas(one, other).tolist() == [0]
