"""Georeference: pixels of GeoTIFFs on the earth, against rasterio's and pyproj's own transforms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

from azaion_engine.scenes.georeference import FileGeoreference, metres_per_degree
from azaion_engine.scenes.resolution import ground_sampling_distance
from azaion_engine.scenes.scene import Scene
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff

POINTS = np.array([[0, 0], [700, 0], [700, 600], [0, 600], [123.25, 456.75]])
FEET = Affine(1, 0, 984_000, 0, -1, 200_000)

MAPS = {
    "UTM": ("EPSG:32633", UTM33),
    "UTM, turned by 30 degrees": ("EPSG:32633", UTM33 * Affine.rotation(30)),
    "UTM, sheared": ("EPSG:32733", UTM33 * Affine.shear(10, 5)),
    "geographic": ("EPSG:4326", Affine(1e-6, 0, 13.4, 0, -1e-6, 52.5)),
    "geographic, turned": ("EPSG:4326", Affine.translation(-70, -33) * Affine.rotation(20) * Affine.scale(2e-6, -1e-6)),
    "Web Mercator": ("EPSG:3857", Affine(0.3, 0, 1_491_000, 0, -0.3, 6_894_000)),
    "equal area of Europe": ("EPSG:3035", Affine(10, 0, 4_321_000, 0, -10, 3_210_000)),
    "polar": ("EPSG:3031", Affine(5, 0, 100_000, 0, -5, -900_000)),
    "the pole at the centre": ("EPSG:3413", Affine(5, 0, -1750, 0, -5, 1500)),
    "the antimeridian at the centre": ("EPSG:4326", Affine(1e-5, 0, 179.9965, 0, -1e-5, 52.5)),
    "feet": ("EPSG:2263", FEET),
    "Gauss-Krüger, another ellipsoid": ("EPSG:31467", Affine(0.2, 0, 3_500_000, 0, -0.2, 5_400_000)),
}


def georeference_of(path: Path) -> FileGeoreference:
    with Scene.open(path) as scene:
        assert scene.georeference is not None
        return scene.georeference


def metres_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.array(pyproj.Geod(ellps="WGS84").inv(*first.T, *second.T)[2])


@pytest.mark.parametrize("name", MAPS)
def test_pixels_are_where_pyproj_and_rasterio_have_them_to_half_a_pixel(tmp_path: Path, name: str) -> None:
    crs, transform = MAPS[name]
    path = write_tiff(tmp_path / "a.tif", noise(), crs=crs, transform=transform)
    georeference = georeference_of(path)
    places = georeference.to_wgs84(POINTS)
    with rasterio.open(path) as dataset:
        # rasterio's own: upper left corners of pixels, rows first.
        xs, ys = rasterio.transform.xy(dataset.transform, POINTS[:, 1], POINTS[:, 0], offset="ul")
    right = np.stack(pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(xs, ys), axis=1)
    pixel = ground_sampling_distance(georeference, 700, 600)
    assert pixel is not None
    assert metres_between(places, right).max() < 0.5 * pixel
    assert georeference.crs == crs
    assert georeference.error_m is None


def test_a_file_whose_tie_point_is_a_pixels_centre_is_shifted_by_half_a_pixel(tmp_path: Path) -> None:
    area = write_tiff(tmp_path / "area.tif", noise(), crs="EPSG:32633", transform=UTM33)
    point = tmp_path / "point.tif"
    with rasterio.Env(GTIFF_POINT_GEO_IGNORE=True):  # writes the transform as it is, for the centre
        write_tiff(point, noise(), crs="EPSG:32633", transform=UTM33)
        with rasterio.open(point, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT="Point")
    first, second = georeference_of(area).transform, georeference_of(point).transform
    np.testing.assert_allclose(np.subtract(second, first), [0, 0, -0.05, 0, 0, 0.05], atol=1e-6)


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"crs": "EPSG:32633"},
        {"transform": UTM33},
        {"crs": 'LOCAL_CS["site",UNIT["metre",1]]', "transform": UTM33},
        {"crs": "EPSG:4326", "gcps": [GroundControlPoint(row, row, row, row) for row in range(4)]},
    ],
)
def test_a_file_without_a_way_to_the_map_has_no_georeference(tmp_path: Path, profile: dict[str, object]) -> None:
    with Scene.open(write_tiff(tmp_path / "a.tif", noise(), **profile)) as scene:
        assert scene.georeference is None


@pytest.mark.parametrize("name", MAPS)
def test_the_ground_sampling_distance_is_that_of_the_ellipsoid(tmp_path: Path, name: str) -> None:
    crs, transform = MAPS[name]
    georeference = georeference_of(write_tiff(tmp_path / "a.tif", noise(), crs=crs, transform=transform))
    places = georeference.to_wgs84(np.array([[350, 300], [351, 300], [351, 301], [350, 301]], np.float64))
    area, _ = pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*places.T)
    measured = ground_sampling_distance(georeference, 700, 600)
    assert measured == pytest.approx(abs(area) ** 0.5, rel=0.002)


def test_a_degree_is_as_long_as_on_the_ellipsoid() -> None:
    for latitude in (0.0, 30.0, -52.5, 84.0):
        geod = pyproj.Geod(ellps="WGS84")
        _, _, along = geod.inv(10, latitude, 10.001, latitude)
        _, _, up = geod.inv(10, latitude - 0.0005, 10, latitude + 0.0005)
        assert metres_per_degree(latitude) == pytest.approx((along * 1000, up * 1000), rel=1e-6)


def test_a_point_outside_the_maps_area_is_nan_and_the_others_are_not(tmp_path: Path) -> None:
    degrees = write_tiff(tmp_path / "a.tif", noise(), crs="EPSG:4326", transform=Affine(0.2, 0, -100, 0, -0.2, 90))
    places = georeference_of(degrees).to_wgs84(np.array([[0, 450], [0, 1000]]))
    np.testing.assert_allclose(places, [[-100, 0], [np.nan, np.nan]])
    full_disk = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84"
    shape = Affine(16_000, 0, -5_600_000, 0, -16_000, 4_800_000)
    disk = write_tiff(tmp_path / "b.tif", noise(), crs=full_disk, transform=shape)
    places = georeference_of(disk).to_wgs84(np.array([[350, 300], [0, 0]]))  # a weather satellite's corner is space
    np.testing.assert_allclose(places, [[0, 0], [np.nan, np.nan]], atol=1e-9)
