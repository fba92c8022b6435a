"""GeoTIFFs over HTTP: boxes with their place on the map; the application itself, without Ray."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import rasterio

from azaion_client.results import Box
from azaion_engine.detector import Detector
from deployments.service import DetectorService
from tests.azaion_engine.models import make_detector
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff
from tests.deployments.frontends.documented import check
from tests.deployments.in_process import client, replica


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DetectorService]:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(make_detector())
    with replica(lambda _: Detector.open(model=str(path), engine="onnx"), decode_threads=1) as held:
        yield held.service


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    samples = noise(height=64, width=64)
    return write_tiff(tmp_path / "a.tif", samples, crs="EPSG:32633", transform=UTM33).read_bytes()


def ask(**sent: object) -> httpx.Response:
    async def post() -> httpx.Response:
        async with client() as asked:
            return await asked.post("/detect?confidence=0", **sent)

    answer = asyncio.run(post())
    assert answer.status_code == 200
    check(answer)
    return answer


def test_each_box_of_a_geotiff_has_its_polygon(service: DetectorService, picture: bytes) -> None:
    boxes = ask(content=picture).json()["boxes"]
    assert boxes
    for box in boxes:
        xs, ys = zip(*[UTM33 * (box[x], box[y]) for x, y in (("x1", "y1"), ("x2", "y2"))], strict=True)
        (west, east), (north, south) = rasterio.warp.transform("EPSG:32633", "EPSG:4326", xs, ys)
        [ring] = box["geometry"]["coordinates"]
        for corner in ([west, north], [east, south]):
            assert np.abs(np.array(ring) - corner).max(axis=1).min() < 4.5e-8
        assert Box(**box).geometry == box["geometry"]


def test_pictures_of_a_form_have_their_own_places(service: DetectorService, picture: bytes, tmp_path: Path) -> None:
    bare = write_tiff(tmp_path / "b.tif", noise(height=64, width=64)).read_bytes()
    parts = [("picture", ("a.tif", picture)), ("picture", ("b.tif", bare))]
    first, second = ask(files=parts).json()["pictures"]
    assert all(box["geometry"]["type"] == "Polygon" for box in first["boxes"])
    assert all("geometry" not in box for box in second["boxes"])
    assert second["boxes"]


def test_without_the_extra_boxes_are_in_pixels_alone(
    service: DetectorService, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    boxes = ask(content=picture).json()["boxes"]
    assert boxes
    assert all("geometry" not in box for box in boxes)
