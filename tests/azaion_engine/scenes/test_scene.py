"""Scene: windows of TIFFs as 8-bit RGB."""

from __future__ import annotations

import io
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from azaion_engine.errors import (
    AzaionError,
    InvalidParameterError,
    MissingDependencyError,
    PictureError,
    PictureTooLargeError,
    UndecodablePictureError,
    UnsupportedPictureError,
)
from azaion_engine.scenes import raster
from azaion_engine.scenes.scene import Scene
from azaion_engine.tiling.tile import Tile
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff

WINDOW = Tile(100, 200, 300, 250)


def window_of(samples: np.ndarray) -> np.ndarray:
    return samples[:, 200:450, 100:400].transpose(1, 2, 0)


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "deflate"},
        {"BIGTIFF": "YES", "compress": "lzw", "interleave": "band"},
        {"tiled": False, "blockysize": 16, "compress": "zstd"},
    ],
)
def test_a_window_is_the_files_own_pixels(tmp_path: Path, profile: dict[str, object]) -> None:
    samples = noise()
    path = write_tiff(tmp_path / "a.tif", samples, crs="EPSG:32633", transform=UTM33, **profile)
    with Scene.open(path) as scene:
        assert (scene.width, scene.height, scene.bands, scene.dtype) == (700, 600, (1, 2, 3), "uint8")
        assert scene.georeference is not None
        assert scene.georeference.crs == "EPSG:32633"
        pixels, valid = scene.read(WINDOW)
    np.testing.assert_array_equal(pixels, window_of(samples))
    assert valid.all()


def test_bands_are_chosen_and_one_band_is_grey(tmp_path: Path) -> None:
    samples = noise(bands=5)
    path = write_tiff(tmp_path / "a.tif", samples, photometric="minisblack")
    with Scene.open(path, bands=(5, 3, 2)) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0], window_of(samples[[4, 2, 1]]))
    with Scene.open(path, bands=[4]) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0], window_of(samples[[3, 3, 3]]))
    for bands in ((1, 2), (1, 2, 6), (0,), ()):
        with pytest.raises(InvalidParameterError, match="one number or three, each 1 to 5"):
            Scene.open(path, bands=bands)


def test_the_bands_that_the_file_calls_red_green_and_blue_are_read(tmp_path: Path) -> None:
    samples = noise(bands=4)
    path = write_tiff(tmp_path / "a.tif", samples, photometric="minisblack")
    with rasterio.open(path, "r+") as dataset:
        names = ("undefined", "blue", "green", "red")
        dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in names]
    (tmp_path / "a.tif.aux.xml").unlink(missing_ok=True)
    with Scene.open(path) as scene:
        assert scene.bands == (4, 3, 2)


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    indices = noise(bands=1, most=4)
    colours = np.array([[1, 2, 3], [50, 60, 70], [200, 10, 0], [9, 99, 199]], np.uint8)
    path = tmp_path / "a.tif"
    shape = {"count": 1, "height": 600, "width": 700, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", photometric="palette", **shape) as dataset:
        dataset.write(indices)
        dataset.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(colours.tolist())})
    with Scene.open(path) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0], colours[window_of(indices)[..., 0]])


def test_white_may_be_zero_and_samples_may_have_fewer_bits(tmp_path: Path) -> None:
    grey = noise(bands=1)
    with Scene.open(write_tiff(tmp_path / "white.tif", grey, photometric="miniswhite")) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0][..., 0], 255 - window_of(grey)[..., 0])
    few = noise(bands=1, most=4)
    with Scene.open(write_tiff(tmp_path / "two_bits.tif", few, nbits=2)) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0][..., 1], 85 * window_of(few)[..., 0])


def test_cmyk_is_read_as_rgb(tmp_path: Path) -> None:
    inks = np.zeros((4, 300, 300), np.uint8)
    inks[1:3, :, 150:] = 255  # magenta and yellow
    with Scene.open(write_tiff(tmp_path / "a.tif", inks, photometric="cmyk")) as scene:
        pixels, _ = scene.read(Tile(0, 0, 300, 300))
    assert pixels[10, 10].tolist() == [255, 255, 255]
    assert pixels[10, 290].tolist() == [255, 0, 0]


def test_nodata_masks_alpha_and_nan_are_not_part_of_the_picture(tmp_path: Path) -> None:
    valid = np.zeros((600, 700), np.bool_)
    valid[250:, 150:] = True
    expected = valid[200:450, 100:400]
    grey = noise(bands=3) // 2 + 1

    nodata = np.where(valid, grey, 0).astype(np.uint8)
    floats = np.where(valid, grey, np.nan).astype(np.float32)
    alpha = np.concatenate([grey, valid[None] * np.uint8(255)]).astype(np.uint8)
    paths = [
        write_tiff(tmp_path / "nodata.tif", nodata, nodata=0),
        write_tiff(tmp_path / "mask.tif", grey.astype(np.uint8), valid=valid),
        write_tiff(tmp_path / "nan.tif", floats),
        write_tiff(tmp_path / "nan_nodata.tif", floats, nodata=np.nan),
        write_tiff(tmp_path / "lowest.tif", np.nan_to_num(floats, nan=-3.4e38), nodata=-3.4e38),
        write_tiff(tmp_path / "alpha.tif", alpha, photometric="rgb", alpha="yes"),
    ]
    for path in paths:
        with Scene.open(path) as scene:
            pixels, found = scene.read(WINDOW)
        np.testing.assert_array_equal(found, expected, err_msg=path.name)
        assert (pixels[~found] == 114).all(), path.name
        assert len(np.unique(pixels[found])) > 60, path.name


def test_a_black_pixel_with_another_band_is_no_nodata(tmp_path: Path) -> None:
    samples = np.zeros((3, 300, 300), np.uint8)
    samples[2, :, 150:] = 9
    with Scene.open(write_tiff(tmp_path / "a.tif", samples, nodata=0)) as scene:
        _, valid = scene.read(Tile(0, 0, 300, 300))
    assert valid[:, 150:].all()
    assert not valid[:, :150].any()


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.float32, np.float64, np.int8])
def test_deep_samples_are_stretched_by_percentiles_of_the_whole_scene(tmp_path: Path, kind: type) -> None:
    most = 100 if kind is np.int8 else 1000
    samples = noise(bands=1, most=most, kind=kind) + kind(20)
    samples[0, :3, :] = np.iinfo(kind).max if np.dtype(kind).kind in "iu" else 1e30  # hot pixels: half a per cent
    with Scene.open(write_tiff(tmp_path / "a.tif", samples)) as scene:
        stretch = scene.stretch()
        pixels, _ = scene.read(WINDOW)
    assert stretch.low is not None
    assert stretch.high is not None
    low, high = 20 + 0.02 * most, 20 + 0.985 * most
    np.testing.assert_allclose([stretch.low[0], stretch.high[0]], [low, high], atol=0.01 * most)
    values = window_of(samples)[..., 0].astype(np.float64)
    right = ((values - stretch.low[0]) / (stretch.high[0] - stretch.low[0]) * 255).clip(0, 255)
    assert np.abs(pixels[..., 0] - right).max() <= 0.51


def test_two_windows_have_one_stretch(tmp_path: Path) -> None:
    samples = np.zeros((1, 512, 1024), np.uint16)
    samples[0, :, 512:] = 1000
    samples[0, ::7] += 300
    with Scene.open(write_tiff(tmp_path / "a.tif", samples)) as scene:
        dark, _ = scene.read(Tile(0, 0, 512, 512))
        light, _ = scene.read(Tile(512, 0, 512, 512))
    assert dark.max() < light.min()


def test_the_stretch_of_a_large_scene_is_measured_on_an_overview_or_a_sample(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(4096, dtype=np.uint16) * 10, (1, 2048, 4096)).copy()
    ramp[0, :1024] = 65535  # nodata over half the scene
    plain = write_tiff(tmp_path / "plain.tif", ramp, nodata=65535, compress="deflate")
    smaller = write_tiff(tmp_path / "overviews.tif", ramp, (2, 4, 8), nodata=65535, compress="deflate")
    for path, overviews in ((plain, ()), (smaller, (2, 4, 8))):
        with Scene.open(path) as scene:
            assert scene.overviews == overviews
            stretch = scene.stretch()
        assert stretch.low is not None
        assert stretch.high is not None
        np.testing.assert_allclose([stretch.low[0], stretch.high[0]], [819, 40141], atol=410, err_msg=path.name)


def test_a_window_is_shrunk_by_averaging(tmp_path: Path) -> None:
    samples = noise(height=512, width=512)
    with Scene.open(write_tiff(tmp_path / "a.tif", samples)) as scene:
        pixels, valid = scene.read(Tile(0, 0, 512, 512), (128, 128))
    means = samples.reshape(3, 128, 4, 128, 4).mean(axis=(2, 4)).transpose(1, 2, 0)
    assert np.abs(pixels - means).max() <= 1
    assert valid.shape == (128, 128)


def test_blocks_that_a_sparse_file_leaves_out_are_known_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    shape = {"count": 3, "height": 100_000, "width": 100_000, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape, **tiles) as dataset:
        dataset.write(noise(height=512, width=512), window=rasterio.windows.Window(51_200, 51_200, 512, 512))
    with Scene.open(path) as scene:
        assert scene.is_absent(Tile(0, 0, 5120, 5120))
        assert scene.is_absent(Tile(51_200, 50_688, 512, 512))
        assert not scene.is_absent(Tile(51_199, 50_689, 2, 512))
        assert not scene.is_absent(Tile(51_711, 51_711, 1000, 1000))


@pytest.mark.parametrize("layout", [{"blockysize": 20_000}, {"tiled": True, "blockxsize": 16384, "blockysize": 16384}])
def test_blocks_too_large_for_windows_are_refused_by_name(tmp_path: Path, layout: dict[str, object]) -> None:
    path = tmp_path / "strip.tif"
    shape = {"count": 3, "height": 20_000, "width": 20_000, "dtype": "uint8"}
    with rasterio.open(path, "w", driver="GTiff", compress="deflate", sparse_ok=True, **shape, **layout):
        pass
    with pytest.raises(PictureTooLargeError, match=r"(20000×20000|16384×16384) pixels, \d+ bytes.*TILED=YES"):
        Scene.open(path)


def test_an_uncompressed_strip_is_read_in_windows(tmp_path: Path) -> None:
    path, samples = tmp_path / "strip.tif", noise(height=2500, width=400)
    shape = {"count": 3, "height": 2500, "width": 400, "dtype": "uint8", "blockysize": 2500}
    with rasterio.open(path, "w", driver="GTiff", **shape) as dataset:
        dataset.write(samples)
    with Scene.open(path) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0], window_of(samples))
        assert not scene.is_absent(WINDOW)


def test_too_many_bands_are_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", np.zeros((1025, 16, 16), np.uint8), photometric="minisblack")
    with pytest.raises(PictureTooLargeError, match="1025 bands, at most 1024"):
        Scene.open(path)


def test_complex_samples_are_refused(tmp_path: Path) -> None:
    for kind in (np.complex64, "complex_int16"):
        shape = {"count": 1, "height": 16, "width": 16, "dtype": kind}
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **shape):
            pass
        with pytest.raises(UnsupportedPictureError, match="whole numbers and floats"):
            Scene.open(tmp_path / "a.tif")


def test_nothing_but_a_local_tiff_is_opened(tmp_path: Path) -> None:
    tiff = write_tiff(tmp_path / "a.tif", noise())
    virtual = tmp_path / "b.tif"
    virtual.write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{tiff}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    png = tmp_path / "c.tif"
    png.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    for path in (virtual, png):
        with pytest.raises(UnsupportedPictureError, match="not a TIFF"):
            Scene.open(path)
    for name in (f"GTIFF_DIR:1:{tiff}", f"/vsizip/{tiff}", "/vsicurl/http://127.0.0.1:1/a.tif", f"file://{tiff}"):
        with pytest.raises(PictureError, match="cannot be read"):
            Scene.open(name)
    with pytest.raises(PictureError, match="no local file"):
        Scene.open(tmp_path)


def test_files_beside_the_picture_are_not_read(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise())
    (tmp_path / "a.tfw").write_text("1\n0\n0\n-1\n5\n5\n")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
    with rasterio.open(path) as dataset:
        assert dataset.crs is not None, "GDAL itself would read them"
    with Scene.open(path) as scene:
        assert scene.georeference is None


def test_a_name_that_is_not_utf_8_is_opened(tmp_path: Path) -> None:
    samples = noise()
    path = tmp_path / os.fsdecode(b"latin1_\xe9.tif")
    write_tiff(tmp_path / "a.tif", samples).rename(path)
    with Scene.open(path) as scene:
        np.testing.assert_array_equal(scene.read(WINDOW)[0], window_of(samples))


def test_a_truncated_or_damaged_file_is_a_picture_error(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(), compress="deflate")
    data = path.read_bytes()
    path.write_bytes(data[:100])
    with pytest.raises(UndecodablePictureError, match="damaged or truncated"):
        Scene.open(path)
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes(5000) + data[middle + 5000 :])
    with Scene.open(path) as scene, pytest.raises(UndecodablePictureError, match="damaged or truncated"):
        scene.read(Tile(0, 0, 700, 600))


def test_files_with_changed_bytes_give_pixels_or_errors_of_ours(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(height=300, width=300), (2,), compress="deflate", nodata=7)
    data, chance = path.read_bytes(), random.Random(3)
    refused = 0
    for _ in range(40):
        changed = bytearray(data)
        for _ in range(chance.choice((1, 2, 8))):
            at = chance.randrange(4, 600)
            changed[at : at + 4] = chance.choice((0, 1, 0xFFFF, 0x7FFFFFFF, chance.getrandbits(32))).to_bytes(
                4, "little"
            )
        path.write_bytes(changed)
        try:
            with Scene.open(path) as scene:
                scene.read(Tile(0, 0, min(scene.width, 256), min(scene.height, 256)), (64, 64))
        except AzaionError:
            refused += 1
    assert 0 < refused < 40


def test_directories_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", noise(height=300, width=300))
    data = bytearray(path.read_bytes())
    start = int.from_bytes(data[4:8], "little")
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    data[end : end + 4] = data[4:8]  # the next directory is the first
    path.write_bytes(data)
    with Scene.open(path) as scene:
        assert scene.overviews == ()


def test_without_rasterio_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiff(tmp_path / "a.tif", noise())
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingDependencyError, match=r"azaion-engine\[geo\]"):
        Scene.open(path)
    with pytest.raises(MissingDependencyError), raster.opened_bytes(path.read_bytes()):
        pass


def test_an_object_that_is_no_local_file_is_read_as_one(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "scene.tif", noise(height=600, width=700), overviews=(2,), compress="deflate")
    read = 0

    class Counting(io.FileIO):
        def readall(self) -> bytes:
            raise AssertionError("only ranges are asked for")

        def readinto(self, buffer: Any) -> int:
            nonlocal read
            count = super().readinto(buffer)
            read += count
            return count

    with (
        Scene.open_object("bucket/scene.tif", lambda: io.BufferedReader(Counting(path), 1 << 12)) as scene,
        Scene.open(path) as own,
    ):
        for tile, size in ((Tile(30, 40, 200, 100), None), (Tile(0, 0, 700, 600), (60, 70))):
            for given, expected in zip(scene.read(tile, size), own.read(tile, size), strict=True):
                np.testing.assert_array_equal(given, expected)
        assert scene.overviews == own.overviews
    assert 0 < read < path.stat().st_size


def test_an_object_that_is_no_tiff_or_cannot_be_read_is_refused() -> None:
    with pytest.raises(UnsupportedPictureError, match="not a TIFF"):
        Scene.open_object("bucket/scene.tif", lambda: io.BytesIO(b"\x89PNG"))
    with pytest.raises(UndecodablePictureError, match="damaged"):
        Scene.open_object("bucket/scene.tif", lambda: io.BytesIO(b"II*\0" + bytes(40)))

    def fail() -> io.BytesIO:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PictureError, match="cannot be read: Permission denied"):
        Scene.open_object("bucket/scene.tif", fail)


def test_keys_of_aws_in_the_environment_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiff(tmp_path / "scene.tif", noise(height=60, width=70))

    def refuse(*given: Any, **named: Any) -> None:
        raise AssertionError("rasterio opens a session of boto3")

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr("rasterio.session.AWSSession.__init__", refuse)
    with Scene.open(path) as scene:
        assert scene.read(Tile(0, 0, 70, 60))[1].all()
