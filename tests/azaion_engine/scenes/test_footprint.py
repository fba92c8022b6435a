"""Footprint: where a drone's photos lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest

from azaion_engine.scenes.footprint import footprint
from azaion_engine.scenes.resolution import ground_sampling_distance
from tests.azaion_engine.scenes.drone import NADIR, photo


def offsets(path: Path, points: list[tuple[float, float]]) -> np.ndarray:
    """Metres east and north of the photo's centre."""
    found = footprint(path)
    assert found is not None
    local = pyproj.Proj("+proj=aeqd +lat_0=52.5 +lon_0=13.4 +ellps=WGS84")
    return np.stack(local(*found.to_wgs84(np.array(points)).T), axis=1)


@pytest.mark.parametrize("elements", [False, True])
def test_a_nadir_photos_pixels_are_metres_around_the_camera(tmp_path: Path, elements: bool) -> None:
    path = photo(tmp_path / "a.jpg", NADIR, elements=elements)
    # 100 m above ground at 400 pixels' focal length: 0.25 m a pixel.
    expected = [[0, 0], [-50, 37.5], [50, -37.5]]
    np.testing.assert_allclose(offsets(path, [(200, 150), (0, 0), (400, 300)]), expected, atol=0.01)
    found = footprint(path)
    assert found is not None
    assert ground_sampling_distance(found, 400, 300) == pytest.approx(0.25, rel=1e-4)
    assert found.error_m == pytest.approx(np.hypot(3, 62.5 * 0.05), rel=1e-3)


@pytest.mark.parametrize(("yaw", "roll"), [("+90.0", "0.0"), ("-90.0", "+180.0")])
def test_the_photos_upper_edge_points_where_the_gimbal_does(tmp_path: Path, yaw: str, roll: str) -> None:
    path = photo(tmp_path / "a.jpg", {**NADIR, "GimbalYawDegree": yaw, "GimbalRollDegree": roll})
    np.testing.assert_allclose(offsets(path, [(200, 0)]), [[37.5, 0]], atol=0.01)  # eastward


def test_without_a_calibrated_focal_length_that_of_exif_counts(tmp_path: Path) -> None:
    tags = {name: value for name, value in NADIR.items() if name != "CalibratedFocalLength"}
    path = photo(tmp_path / "a.jpg", tags, {0xA405: 24})
    found = footprint(path)
    assert found is not None
    assert found.metres == pytest.approx(100 / (24 / 43.2666 * 500), rel=1e-4)  # diagonals: 43.27 mm and 500 pixels
    assert footprint(photo(tmp_path / "b.jpg", tags)) is None


def test_tilt_and_corrections_set_the_error(tmp_path: Path) -> None:
    tilted = footprint(photo(tmp_path / "a.jpg", {**NADIR, "GimbalPitchDegree": "-86.0"}))
    fixed = footprint(photo(tmp_path / "b.jpg", {**NADIR, "RtkFlag": "50"}))
    assert tilted is not None
    assert fixed is not None
    assert tilted.error_m == pytest.approx(np.sqrt(3**2 + 6.99**2 + 3.125**2), rel=1e-3)
    assert fixed.error_m == pytest.approx(3.125, rel=1e-2)


@pytest.mark.parametrize(
    "changed",
    [
        {"GimbalPitchDegree": "-80.0"},
        {"GimbalPitchDegree": "-45.0"},
        {"GpsLatitude": "0", "GpsLongitude": "0"},
        {"GpsLatitude": "nan"},
        {"GpsLatitude": "91"},
        {"RelativeAltitude": "-3.0"},
        {"RelativeAltitude": "high"},
        {"CalibratedFocalLength": "0"},
    ],
)
def test_photos_that_look_elsewhere_or_make_no_sense_have_none(tmp_path: Path, changed: dict[str, str]) -> None:
    assert footprint(photo(tmp_path / "a.jpg", {**NADIR, **changed})) is None


def test_a_missing_tag_a_turned_photo_and_other_files_have_none(tmp_path: Path) -> None:
    for name in ("GpsLatitude", "GpsLongitude", "RelativeAltitude", "GimbalPitchDegree", "GimbalYawDegree"):
        tags = {other: value for other, value in NADIR.items() if other != name}
        assert footprint(photo(tmp_path / "a.jpg", tags)) is None
    assert footprint(photo(tmp_path / "a.jpg", NADIR, {0x0112: 6})) is None
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photo(tmp_path / "a.jpg", NADIR).read_bytes()[:500])
    assert footprint(cut) is None
    text = tmp_path / "text.jpg"
    text.write_text("<x:xmpmeta" * 1000 + 'drone-dji:GpsLatitude="1"')
    assert footprint(text) is None
    assert footprint(tmp_path / "none.jpg") is None


def test_the_misspelt_tag_of_early_firmware_counts(tmp_path: Path) -> None:
    tags = {name.replace("GpsLongitude", "GpsLongtitude"): value for name, value in NADIR.items()}
    assert footprint(photo(tmp_path / "a.jpg", tags)) is not None
