"""Polygons: boxes at the poles, across the antimeridian and of half the world, against points of the picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from azaion_engine.files.geojson import geometries
from azaion_engine.files.polygons import polygon
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.georeference import FileGeoreference

POLE = Affine(5, 0, -350 * 5, 0, -5, 300 * 5)
"""Five metres a pixel; the pole is at 350, 300."""

BOXES = {
    "around the north pole": ("EPSG:3413", POLE, (300, 250, 420, 380)),
    "around the south pole": ("EPSG:3031", POLE, (300, 250, 420, 380)),
    "around a pole, some pixels": ("EPSG:3413", POLE, (345, 296, 353, 304)),
    "around a pole, in another system": ("EPSG:3995", POLE, (345, 250, 420, 380)),
    "a pole on the edge": ("EPSG:3413", POLE, (300, 300, 420, 380)),
    "a pole at the corner": ("EPSG:3413", POLE, (350, 300, 420, 380)),
    "beside a pole": ("EPSG:3413", POLE, (352, 250, 420, 380)),
    "beside a pole and across the antimeridian": ("EPSG:3031", POLE, (300, 301, 420, 500)),
    "near a pole, where edges are bent": ("EPSG:3995", POLE, (500, 450, 620, 580)),
    "a continent around a pole": ("EPSG:3031", Affine(5000, 0, -350 * 5000, 0, -5000, 300 * 5000), (99, 99, 620, 580)),
    "across the antimeridian": ("EPSG:32601", Affine(10, 0, 162_521, 0, -10, 3000), (300, 250, 420, 380)),
    "degrees from -185": ("EPSG:4326", Affine(0.001, 0, -185, 0, -0.001, 10), (200, 250, 420, 380)),
    "degrees from 181": ("EPSG:4326", Affine(0.001, 0, 181, 0, -0.001, 10), (200, 250, 420, 380)),
    "300 degrees wide": ("EPSG:4326", Affine(1.5, 0, -180, 0, -0.3, 90), (10, 100, 210, 380)),
    "300 degrees wide, from Greenwich on": ("EPSG:4326", Affine(1.5, 0, 0, 0, -0.3, 90), (10, 100, 210, 380)),
    "the whole earth": ("EPSG:4326", Affine(1, 0, -180, 0, -0.5, 90), (0, 0, 360, 360)),
}


def box_of(box: tuple[int, int, int, int]) -> Detections:
    boxes = np.array([box], np.float32)
    return Detections(boxes, np.ones(1, np.float32), np.zeros(1, np.int64), 700, 600, {})


def rings_of(geometry: dict[str, Any]) -> list[np.ndarray]:
    parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    return [np.array(ring) for [ring] in parts]


def contains(ring: np.ndarray, places: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(places), np.bool_)
    for (x1, y1), (x2, y2) in pairwise(ring):
        crosses = (y1 > places[:, 1]) != (y2 > places[:, 1])
        if crosses.any():
            inside ^= crosses & (places[:, 0] < (x2 - x1) * (places[:, 1] - y1) / (y2 - y1) + x1)
    return inside


@pytest.mark.parametrize("name", BOXES)
def test_a_polygon_has_the_points_of_its_box_and_no_others_to_half_a_pixel(name: str) -> None:
    crs, transform, box = BOXES[name]
    georeference = FileGeoreference(tuple(transform)[:6], rasterio.crs.CRS.from_string(crs))
    [geometry] = geometries(box_of(box), georeference)
    assert geometry is not None
    rings = rings_of(geometry)
    for ring in rings:
        assert (np.abs(ring) <= [180, 90]).all()
        assert (ring[0] == ring[-1]).all()
        x, y = (ring - ring[0]).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0, "counterclockwise"
    x1, y1, x2, y2 = box
    reach = max(x2 - x1, y2 - y1) / 2
    points = np.random.default_rng(0).uniform([x1 - reach, y1 - reach], [x2 + reach, y2 + reach], (400, 2))
    outside = np.max([x1 - points[:, 0], points[:, 0] - x2, y1 - points[:, 1], points[:, 1] - y2], axis=0)
    clear = np.abs(outside) > 0.5
    if crs == "EPSG:4326":  # farther away, the same places come again
        clear &= np.abs(points[:, 0] - (x1 + x2) / 2) * transform.a < 180
    places = georeference.to_wgs84(points)
    clear &= np.isfinite(places).all(axis=1)
    places[:, 0] = (places[:, 0] + 180) % 360 - 180
    found = np.any([contains(ring, places) for ring in rings], axis=0)
    assert clear.sum() > 50
    np.testing.assert_array_equal(found[clear], (outside < 0)[clear])


def test_edges_that_are_straight_on_the_map_get_no_points() -> None:
    georeference = FileGeoreference((0.1, 0, 400_000, 0, -0.1, 5_400_000), rasterio.crs.CRS.from_epsg(32633))
    [geometry] = geometries(box_of((100, 100, 300, 200)), georeference)
    assert geometry is not None
    assert [len(ring) for ring in rings_of(geometry)] == [5]


def test_a_ring_with_a_point_without_a_place_has_no_geometry() -> None:
    assert polygon(np.array([[0, 0], [1, 0], [np.nan, 1]])) is None
