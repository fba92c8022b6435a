"""Scene: JPEG tiles and strips that lack data are told, however often they are read, and all others are answered."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.scenes.raster import open_file
from azaion_engine.scenes.scene import Scene
from azaion_engine.tiling.tile import Tile
from tests.azaion_engine.scenes.files import noise, write_tiff

SAMPLES = cv2.GaussianBlur(noise().transpose(1, 2, 0), (5, 5), 0).transpose(2, 0, 1)
COLOURS = [{"photometric": "YCBCR", "interleave": "pixel"}, {"interleave": "band"}]
LAYOUTS = [{}, {"tiled": False, "blockysize": 256}]


def place_of(path: Path, **level: int) -> tuple[int, int]:
    """Returns begin and end of the first block's bytes."""
    with rasterio.open(path) as dataset:
        tags = (f"BLOCK_{name}_0_0" for name in ("OFFSET", "SIZE"))
        offset, size = (int(dataset.get_tag_item(tag, "TIFF", bidx=1, **level) or 0) for tag in tags)
    return offset, offset + size


def damage(path: Path, how: str, **level: int) -> None:
    start, end = place_of(path, **level)
    data = bytearray(path.read_bytes())
    if how == "cut":
        data[(start + end) // 2 : end] = b"\xff\xd9" + bytes(end - (start + end) // 2 - 2)
    else:
        data[(start + end) // 2 : end - 2] = bytes(end - 2 - (start + end) // 2)
    path.write_bytes(data)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", ["cut", "overwritten"])
def test_a_damaged_jpeg_is_told_each_time_it_is_read(
    tmp_path: Path, how: str, layout: dict[str, object], colour: dict[str, object]
) -> None:
    path = write_tiff(tmp_path / "a.tif", SAMPLES, compress="jpeg", **colour, **layout)
    below = Tile(0, 256, 700, 344)
    with Scene.open(path) as scene:
        whole, _ = scene.read(below)
    damage(path, how)
    with Scene.open(path) as scene:
        for tile in (Tile(0, 0, 200, 200), Tile(0, 0, 200, 200), Tile(100, 200, 300, 300), Tile(0, 10, 150, 20)):
            with pytest.raises(UndecodablePictureError, match="JPEG"):
                scene.read(tile)
            np.testing.assert_array_equal(scene.read(below)[0], whole)


def test_an_overview_of_damaged_jpegs_is_not_used(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", SAMPLES, (4,), compress="jpeg", photometric="YCBCR", interleave="pixel")
    damage(path, "cut", ovr=0)
    with Scene.open(path) as scene:
        assert scene.overviews == ()
        pixels, _ = scene.read(Tile(0, 0, 700, 600), (150, 175))
    assert np.ptp(pixels[-20:]) > 20


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_jpegs_are_read(tmp_path: Path, level: int, colour: dict[str, object]) -> None:
    flat = SAMPLES.copy()
    flat[:, 100:] = level
    path = write_tiff(tmp_path / "a.tif", flat, compress="jpeg", **colour)
    with Scene.open(path) as scene:
        pixels, _ = scene.read(Tile(0, 0, 700, 600))
    assert (np.abs(pixels[120:].astype(int) - level) < 3).all()


def test_opening_a_file_leaves_no_handler_behind(tmp_path: Path) -> None:
    before = list(logging.getLogger("rasterio").handlers)
    open_file(write_tiff(tmp_path / "a.tif", SAMPLES)).close()
    assert logging.getLogger("rasterio").handlers == before
