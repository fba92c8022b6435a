"""`azaion detect` on scenes and maps, with a tiny model in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from azaion_cli.exit_codes import ExitCode
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff

Cli = Callable[..., Ran]
SMALL = ("--set", "max_picture_pixels=10000")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "scene.tif", noise(height=200, width=300), crs="EPSG:32633", transform=UTM33)


def detect(azaion: Cli, tiny: Path, *arguments: object) -> Ran:
    return azaion("detect", *arguments, "--model", tiny, "--engine", "onnx", "-c", 0)


def test_a_tiff_above_the_limit_goes_by_windows_and_onto_the_map(
    azaion: Cli, tiny: Path, scene: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.geojson"
    ran = detect(azaion, tiny, scene, *SMALL, "--format", "geojson", "-o", out)
    assert (ran.code, ran.out, ran.err) == (ExitCode.OK, "", "")
    features = json.loads(out.read_text())["features"]
    assert features
    to_map = rasterio.warp.transform
    for feature in features:
        x1, y1, x2, y2 = feature["properties"]["box"]
        xs, ys = zip(*[UTM33 * corner for corner in ((x1, y1), (x2, y2))], strict=True)
        (west, east), (north, south) = to_map("EPSG:32633", "EPSG:4326", xs, ys)
        [ring] = feature["geometry"]["coordinates"]
        for corner in ([west, north], [east, south]):  # within 5 mm, a twentieth of a pixel: "box" has two decimals
            assert np.abs(np.array(ring) - corner).max(axis=1).min() < 4.5e-8
        assert feature["properties"]["crs"] == "EPSG:32633"
    [line] = detect(azaion, tiny, scene, *SMALL).out.splitlines()
    told = json.loads(line)
    assert told["picture"] == {"width": 300, "height": 200}
    assert len(told["boxes"]) == len(features)


def test_a_scene_is_answered_but_not_drawn(azaion: Cli, tiny: Path, scene: Path, tmp_path: Path) -> None:
    ran = detect(azaion, tiny, scene, *SMALL, "--draw", tmp_path / "drawn")
    assert ran.code == ExitCode.OK
    assert json.loads(ran.out)["boxes"]
    assert "scene.tif: read in windows, so it is not drawn" in ran.err
    assert not list(tmp_path.glob("drawn/*"))


def test_a_small_geotiff_and_plain_pictures_are_written_as_features_too(
    azaion: Cli, tiny: Path, scene: Path, tmp_path: Path
) -> None:
    Image.fromarray(noise(height=64, width=64).transpose(1, 2, 0)).save(tmp_path / "plain.png")
    ran = detect(azaion, tiny, scene, tmp_path / "plain.png", "--format", "geojson")
    assert ran.code == ExitCode.OK
    placed = {Path(one["properties"]["source"]).name: one["geometry"] is not None for one in ran.json["features"]}
    assert placed == {"scene.tif": True, "plain.png": False}


def test_a_tiff_turned_by_its_orientation_has_no_place(azaion: Cli, tiny: Path, tmp_path: Path) -> None:
    picture = Image.fromarray(noise(height=64, width=64).transpose(1, 2, 0))
    scale, tie, keys = (0.1, 0.1, 0.0), (0.0, 0.0, 0.0, 412345.0, 5412345.0, 0.0), (1, 1, 0, 1, 3072, 0, 1, 32633)
    for orientation in (1, 6):
        tags = {33550: scale, 33922: tie, 34735: keys, 274: orientation}
        picture.save(tmp_path / "turned.tif", tiffinfo=tags)
        features = detect(azaion, tiny, tmp_path / "turned.tif", "--format", "geojson").json["features"]
        assert [one["geometry"] is None for one in features] == [orientation == 6] * len(features)
        assert features


def test_options_of_scenes_are_followed_or_refused_by_name(azaion: Cli, tiny: Path, scene: Path) -> None:
    def boxes(*options: object) -> int:
        ran = detect(azaion, tiny, scene, *options)
        assert ran.code == ExitCode.OK, ran.err
        return len(json.loads(ran.out)["boxes"])

    everything = boxes("--bands", "1,2,3")
    assert boxes("--bands", "2") > 0
    assert 0 < boxes("--gsd", 0.2) < everything
    assert boxes("--min-metres", 1e6) == 0
    assert boxes("--max-metres", 1e6) == everything
    for options, told in (
        (("--bands", "1,x"), "'1,x'"),
        (("--gsd", 0), "gsd: expected metres above 0, given 0"),
    ):
        ran = detect(azaion, tiny, scene, *options)
        assert ran.code == ExitCode.USAGE
        assert told in ran.err


def test_a_file_that_cannot_follow_an_option_is_named_and_stops_nothing(
    azaion: Cli, tiny: Path, scene: Path, tmp_path: Path
) -> None:
    bare = write_tiff(tmp_path / "bare.tif", noise(height=64, width=64))
    Image.new("RGB", (64, 64)).save(tmp_path / "plain.png")
    ran = detect(azaion, tiny, bare, tmp_path / "plain.png", scene, "--gsd", 0.1)
    assert ran.code == ExitCode.PICTURES_FAILED
    assert [Path(json.loads(line)["source"]).name for line in ran.out.splitlines()] == ["scene.tif"]
    first, second, _ = ran.err.splitlines()
    assert "bare.tif: gsd: the file does not say how many metres" in first
    assert "plain.png: not a TIFF" in second


def test_a_damaged_window_is_named_beside_the_boxes_of_the_others(azaion: Cli, tiny: Path, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(height=600, width=600), compress="deflate")
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 2000] = bytes(2000)
    path.write_bytes(data)
    ran = detect(azaion, tiny, path, *SMALL)
    assert ran.code == ExitCode.PICTURES_FAILED
    assert json.loads(ran.out)["boxes"]
    assert "of its windows cannot be read, the first at" in ran.err
