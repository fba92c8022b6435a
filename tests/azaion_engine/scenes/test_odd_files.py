"""Scene: fill values without a tag, deep palettes, overviews that show nothing, and extreme samples and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from azaion_engine.scenes.scene import Scene
from azaion_engine.tiling.tile import Tile
from tests.azaion_engine.scenes.files import noise, write_tiff


def read_whole(path: Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    with Scene.open(path) as scene:
        return scene.read(Tile(0, 0, scene.width, scene.height), size)


@pytest.mark.parametrize(
    ("kind", "fill"),
    [(np.float32, -3.4028235e38), (np.float64, -9999), (np.int16, -32768), (np.uint16, 65535), (np.float32, 1e38)],
)
def test_fill_values_that_no_tag_names_are_not_part_of_the_picture(tmp_path: Path, kind: type, fill: float) -> None:
    samples = noise(kind=kind, most=1000) + kind(500)
    samples[:, 200:] = fill
    samples[0, 100, 100] = fill  # in one band only
    path = write_tiff(tmp_path / "a.tif", samples)
    pixels, valid = read_whole(path)
    assert valid[:200].sum() >= 200 * 700 - 1
    assert not valid[200:].any()
    assert (pixels[200:] == 114).all()
    assert np.percentile(pixels[:200], 50) == pytest.approx(127, abs=4)
    tagged = write_tiff(tmp_path / "tagged.tif", samples, nodata=0)  # whoever tags one value has no other
    assert read_whole(tagged)[1].all() == (abs(fill) < 1e30)


def test_zero_is_a_sample_of_signed_and_of_dark_files(tmp_path: Path) -> None:
    for kind in (np.int16, np.uint16):
        samples = noise(kind=kind, most=1000)
        samples[:, 200:] = 0
        assert read_whole(write_tiff(tmp_path / "a.tif", samples))[1].all()


def test_a_palette_of_16_bits_gives_its_colours(tmp_path: Path) -> None:
    indices = noise(bands=1, most=3, kind=np.uint16) * 300
    colours = {0: (1, 2, 3, 255), 300: (50, 60, 70, 255), 600: (200, 10, 0, 255)}
    path = tmp_path / "a.tif"
    shape = {"count": 1, "height": 600, "width": 700, "dtype": "uint16"}
    with rasterio.open(path, "w", driver="GTiff", photometric="palette", **shape) as dataset:
        dataset.write(indices)
        dataset.write_colormap(1, colours)
    pixels, _ = read_whole(path)
    np.testing.assert_array_equal(pixels[..., 0], np.select([indices[0] == key for key in colours], [1, 50, 200]))


def with_empty_overviews(path: Path, samples: np.ndarray, **profile: Any) -> Path:
    """Writes the samples after the overviews are made."""
    bands, height, width = samples.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": samples.dtype, "tiled": True, **profile}
    with rasterio.open(path, "w", driver="GTiff", blockxsize=256, blockysize=256, sparse_ok=True, **shape):
        pass
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews((2, 4), rasterio.enums.Resampling.nearest)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(samples)
    return path


@pytest.mark.parametrize("compress", ["none", "deflate"])
def test_overviews_that_are_empty_are_not_used(tmp_path: Path, compress: str) -> None:
    samples = noise(height=1200, width=1600, kind=np.uint16, most=1000) + np.uint16(500)
    path = with_empty_overviews(tmp_path / "a.tif", samples, compress=compress)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4]
        assert dataset.read(1, out_shape=(300, 400)).max() == 0, "GDAL itself would use them"
    with Scene.open(path) as scene:
        assert scene.overviews == ()
        assert not scene.is_absent(Tile(0, 0, 256, 256))
        stretch = scene.stretch()
        assert stretch.low is not None
        assert stretch.low[0] == pytest.approx(520, abs=10)
        pixels, _ = scene.read(Tile(0, 0, 1600, 1200), (300, 400))
    assert pixels.mean() == pytest.approx(127, abs=4)


def test_overviews_that_are_damaged_are_not_used(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(), (2,), compress="deflate")
    with rasterio.open(path) as dataset:
        where = [
            int(dataset.get_tag_item(f"BLOCK_{name}_0_0", "TIFF", bidx=1, ovr=0) or 0) for name in ("OFFSET", "SIZE")
        ]
    data = bytearray(path.read_bytes())
    data[where[0] : sum(where)] = bytes(where[1])
    path.write_bytes(data)
    with Scene.open(path) as scene:
        assert scene.overviews == ()
        pixels, _ = scene.read(Tile(0, 0, 700, 600), (300, 350))
    assert pixels.std() > 20


def test_overviews_of_a_scene_of_one_colour_stay(tmp_path: Path) -> None:
    with Scene.open(write_tiff(tmp_path / "a.tif", np.full((3, 600, 700), 9, np.uint8), (2,))) as scene:
        assert scene.overviews == (2,)


def test_a_band_of_one_large_number_is_black(tmp_path: Path) -> None:
    samples = np.full((1, 300, 300), 2**60, np.uint64)
    samples[0, 0, :] = 2**61
    pixels, _ = read_whole(write_tiff(tmp_path / "a.tif", samples))
    assert (pixels[1:] == 0).all()
    assert (pixels[0] == 255).all()


def test_a_scene_of_one_row_is_averaged_where_it_shrinks(tmp_path: Path) -> None:
    samples = np.tile(np.array([0, 40, 80, 200], np.uint8), 256).reshape(1, 1, 1024)
    pixels, _ = read_whole(write_tiff(tmp_path / "a.tif", samples), (1, 256))
    np.testing.assert_array_equal(pixels, 80)
