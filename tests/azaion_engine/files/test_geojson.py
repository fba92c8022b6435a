"""GeoJson: detections as WGS84 polygons."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

from azaion_engine.files.geojson import GeoJson, Georeference, geometries
from azaion_engine.files.polygons import polygon
from azaion_engine.files.sources import Item
from azaion_engine.results.detections import Detections

PICTURE, FRAME = Item("in/a.tif", "a.tif", b""), Item("in/v.mp4", "v_000007.jpg", b"", 7, 0.28)
NAMES = {0: "car", 1: "truck"}


class Plane:
    """A thousandth of a degree a pixel, north up; 0, 0 is 10 E, 50 N."""

    crs = "EPSG:4326"

    def __init__(self, longitude: float = 10.0, error_m: float | None = None) -> None:
        self.error_m = error_m
        self._longitude = longitude

    def to_wgs84(self, points: np.ndarray) -> np.ndarray:
        places = points * [0.001, -0.001] + [self._longitude, 50]
        places[:, 0] = (places[:, 0] + 180) % 360 - 180
        places[points[:, 0] > 9000] = np.nan
        return places


def found(*rows: tuple[float, ...], oriented: list[tuple[float, ...]] | None = None) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 6)
    turned = None if oriented is None else np.array(oriented, np.float32)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), 10_000, 10_000, NAMES, turned)


def written(*pictures: tuple[Item, Detections, Georeference | None]) -> dict[str, Any]:
    stream = io.StringIO()
    places = {item.source: place for item, _, place in pictures}
    writer = GeoJson(stream, lambda item: places[item.source])
    for item, boxes, _ in pictures:
        writer.write(item, boxes)
    writer.finish()
    return json.loads(stream.getvalue())


def test_a_box_is_a_closed_counterclockwise_polygon_with_its_pixels() -> None:
    document = written((PICTURE, found((100, 200, 150, 220, 0.9, 1)), Plane()))
    [feature] = document["features"]
    assert document["type"] == "FeatureCollection"
    assert feature["type"] == "Feature"
    [ring] = feature["geometry"]["coordinates"]
    assert feature["geometry"]["type"] == "Polygon"
    assert ring == [[10.1, 49.78], [10.15, 49.78], [10.15, 49.8], [10.1, 49.8], [10.1, 49.78]]
    assert feature["properties"] == {
        "source": "in/a.tif",
        "confidence": 0.9,
        "class_id": 1,
        "class_name": "truck",
        "box": [100, 200, 150, 220],
        "crs": "EPSG:4326",
    }


def test_an_oriented_box_is_its_own_polygon() -> None:
    boxes = found((90, 90, 110, 110, 0.9, 0), oriented=[(100, 100, 20, 10, np.pi / 6)])
    [feature] = written((PICTURE, boxes, Plane()))["features"]
    [ring] = feature["geometry"]["coordinates"]
    assert boxes.corners is not None
    expected = boxes.corners[0] * [0.001, -0.001] + [10, 50]
    corners = {tuple(np.round(point, 6)) for point in expected}
    assert {tuple(np.round(point, 6)) for point in ring} == corners
    assert len(feature["properties"]["corners"]) == 4
    assert feature["properties"]["angle"] == pytest.approx(np.pi / 6, abs=1e-4)


def test_a_long_edge_has_points_between_its_corners() -> None:
    [geometry] = geometries(found((0, 0, 1000, 100, 0.9, 0)), Plane())
    assert geometry is not None
    [ring] = geometry["coordinates"]
    assert len(ring) == 2 * 4 + 2 * 1 + 1
    assert [10.25, 50.0] in ring


def test_a_box_across_the_antimeridian_is_cut_there() -> None:
    [geometry] = geometries(found((50, 0, 250, 100, 0.9, 0)), Plane(longitude=179.9))
    assert geometry is not None
    assert geometry["type"] == "MultiPolygon"
    west, east = (np.array(part[0]) for part in geometry["coordinates"])
    assert (west[:, 0].min(), west[:, 0].max()) == (179.95, 180)
    assert (east[:, 0].min(), east[:, 0].max()) == (-180, -179.85)
    for ring in (west, east):
        assert np.ptp(ring[:, 1]) == pytest.approx(0.1)
        assert (ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]).sum() > 0
    for longitude in (179.9, -180.0):  # boxes that only touch it are whole
        [beside] = geometries(found((0, 0, 100, 100, 0.9, 0)), Plane(longitude=longitude))
        assert beside is not None
        assert beside["type"] == "Polygon"


def test_a_picture_without_a_place_has_features_without_geometry() -> None:
    car = found((100, 200, 150, 220, 0.9, 0))
    outside = found((9100, 0, 9200, 10, 0.8, 0))
    first, second = written((PICTURE, outside, Plane()), (FRAME, car, None))["features"]
    assert first["geometry"] is second["geometry"] is None
    assert (second["properties"]["frame"], second["properties"]["time_s"]) == (7, 0.28)
    assert "crs" not in second["properties"]


def test_an_estimate_states_its_error_and_no_pictures_are_an_empty_collection() -> None:
    [feature] = written((PICTURE, found((0, 0, 9, 9, 0.9, 0)), Plane(error_m=4.321)))["features"]
    assert feature["properties"]["error_m"] == 4.32
    assert written((PICTURE, found(), Plane())) == {"type": "FeatureCollection", "features": []}
    assert written() == {"type": "FeatureCollection", "features": []}


def test_a_small_box_keeps_its_direction() -> None:
    ring = np.array([[13.4, 52.5], [13.4, 52.5 + 1e-8], [13.4 + 1e-8, 52.5 + 1e-8], [13.4 + 1e-8, 52.5]])
    geometry = polygon(ring)
    assert geometry is not None
    assert geometry["coordinates"][0][:2] == [[13.40000001, 52.5], [13.40000001, 52.50000001]]
