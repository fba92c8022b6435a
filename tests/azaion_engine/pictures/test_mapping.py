"""Mapping: oriented boxes on their way back onto the picture; upright ones are in `test_letterbox`."""

from __future__ import annotations

import numpy as np

from azaion_engine.geometry import corners_of, enclosing
from azaion_engine.pictures.letterbox import Letterbox, steps_of
from azaion_engine.pictures.mapping import oriented_to_pictures


def test_oriented_boxes_are_mapped_as_ultralytics_maps_them_where_rounding_makes_the_scales_differ() -> None:
    box = Letterbox.fit(1600, 1213, 640, 640)  # 485 rows of 485.2
    columns = np.array([[320, 100], [300, 90], [80, 30], [40, 12], [0.6, -0.3]], np.float32)
    found, upright = oriented_to_pictures(columns, steps_of([box], np.zeros(2, np.intp)))
    expected = [
        [(x - box.pad_left) / 0.4, (y - box.pad_top) / (485 / 1213), width / 0.4, height / (485 / 1213), angle]
        for x, y, width, height, angle in columns.T
    ]
    np.testing.assert_allclose(found.T, expected, atol=1e-3)
    np.testing.assert_allclose(upright.T[0], enclosing(corners_of(found.T))[0], atol=1e-3)
    assert 0 <= upright.min() <= upright[2].max() <= 1600


def test_a_negative_side_of_an_oriented_box_is_the_same_rectangle() -> None:
    box = Letterbox.fit(100, 100, 100, 100)
    columns = np.array([[50, 50], [50, 50], [-40, 40], [20, -20], [0.6, 0.6]], np.float32)
    found, _ = oriented_to_pictures(columns, steps_of([box], np.zeros(2, np.intp)))
    np.testing.assert_allclose(found[2:4], [[40, 40], [20, 20]])
