"""Locating: where encoded pictures and files lie, from headers alone."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

from azaion_engine.scenes.locating import locate
from azaion_engine.scenes.map_tags import read_map_tags
from tests.azaion_engine.scenes.drone import NADIR, photo
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff

POINTS = np.array([[0, 0], [700, 0], [123.25, 456.75]])
TURNED = UTM33 * Affine.rotation(30)


@pytest.mark.parametrize("transform", [UTM33, TURNED])
@pytest.mark.parametrize("crs", ["EPSG:32633", "+proj=laea +lat_0=48 +lon_0=13 +ellps=WGS84", "EPSG:31467"])
@pytest.mark.parametrize(
    "profile", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {"ENDIANNESS": "BIG", "BIGTIFF": "YES"}]
)
def test_an_encoded_geotiff_lies_where_its_file_does(
    tmp_path: Path, crs: str, transform: Affine, profile: dict[str, str]
) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(), crs=crs, transform=transform, **profile)
    by_file, by_bytes = locate(path), locate(path.read_bytes())
    assert by_file is not None
    assert by_bytes is not None
    np.testing.assert_allclose(by_bytes.to_wgs84(POINTS), by_file.to_wgs84(POINTS), rtol=0, atol=1e-11)
    assert by_bytes.crs == by_file.crs


def test_a_tie_point_at_a_pixels_centre_counts_in_bytes_too(tmp_path: Path) -> None:
    path = tmp_path / "point.tif"
    with rasterio.Env(GTIFF_POINT_GEO_IGNORE=True):
        write_tiff(path, noise(), crs="EPSG:32633", transform=UTM33)
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT="Point")
    by_file, by_bytes = locate(path), locate(path.read_bytes())
    assert by_file is not None
    assert by_bytes is not None
    np.testing.assert_allclose(by_bytes.to_wgs84(POINTS), by_file.to_wgs84(POINTS), rtol=0, atol=1e-11)


def test_pictures_without_a_map_have_no_place(tmp_path: Path) -> None:
    points = [GroundControlPoint(row, row, row, row) for row in range(4)]
    for profile in ({}, {"crs": "EPSG:32633"}, {"crs": "EPSG:4326", "gcps": points}):
        path = write_tiff(tmp_path / "a.tif", noise(), **profile)
        assert locate(path) is None
        assert locate(path.read_bytes()) is None
    assert locate(b"\xff\xd8\xff\xd9") is None
    assert locate(b"II*\0") is None


def test_a_drones_photo_lies_where_its_tags_say(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", NADIR)
    for picture in (path, path.read_bytes()):
        found = locate(picture)
        assert found is not None
        np.testing.assert_allclose(found.to_wgs84(np.array([[200, 150]])), [[13.4, 52.5]])
        assert found.error_m is not None


def test_damaged_headers_have_no_place_and_raise_nothing(tmp_path: Path) -> None:
    data = write_tiff(tmp_path / "a.tif", noise(height=32, width=32), crs="EPSG:32633", transform=UTM33).read_bytes()
    whole, chance = bytearray(data), random.Random(5)
    for length in range(0, 600, 7):
        locate(data[:length])
    for _ in range(300):
        damaged = whole[:]
        for _ in range(3):
            damaged[chance.randrange(4, 700)] = chance.randrange(256)
        locate(bytes(damaged))


def test_many_directories_and_long_tags_cost_nothing(tmp_path: Path) -> None:
    """GDAL itself would follow all directories of the file."""
    data = write_tiff(tmp_path / "a.tif", noise(height=32, width=32), crs="EPSG:32633", transform=UTM33).read_bytes()
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    chain = b"".join(struct.pack("<HHHIII", 1, 256, 3, 1, 1, len(data) + 18 * number) for number in range(1, 200_000))
    long = data[:end] + struct.pack("<I", len(data)) + data[end + 4 :] + chain
    began = time.perf_counter()
    assert locate(long) is not None
    assert time.perf_counter() - began < 0.5
    tags = read_map_tags(long)
    assert tags is not None
    assert len(tags.data) < 2000
