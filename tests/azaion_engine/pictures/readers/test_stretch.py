"""Stretch: nodata, infinities and outliers do not set the range; what has a white keeps it."""

from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.readers.stretch import to_8_bits
from tests.azaion_engine.pictures.picture_files import raw_png
from tests.azaion_engine.pictures.readers.tiff_files import tiff

SCENE = (60 + 40 * np.sin(np.arange(96) / 9)[None, :] + 90 * np.linspace(0, 1, 80)[:, None]).round()
"""Levels from 20 to 190, smooth as a picture."""
KELVIN = SCENE * 0.4 + 200
PLAIN = decode(tiff(KELVIN.astype(np.float32)))[..., 0]
BLOCK = (slice(0, 20), slice(0, 30))


def with_block(samples: np.ndarray, value: float) -> np.ndarray:
    changed = samples.copy()
    changed[BLOCK] = value
    return changed


def differs_outside(data: bytes, expected: np.ndarray) -> int:
    picture = decode(data)[..., 0]
    assert (picture[:18, :28] == 0).all()
    return int(np.abs(picture.astype(int) - expected)[22:, 32:].max())


@pytest.mark.parametrize(
    ("value", "tag"),
    [(-9999, "-9999"), (-9999, None), (np.nan, None), (np.nan, "nan"), (np.inf, None), (-np.inf, None),
     (-3.4028234663852886e38, "-3.4028234663852886e+38"), (-3.4e38, None), (0, "0"), (1e20, "1e20")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_what_means_nodata_in_floats_is_left_out(value: float, tag: str | None, kind: str) -> None:
    data = tiff(with_block(KELVIN.astype(kind), value), nodata=tag)
    assert differs_outside(data, PLAIN) <= 1


@pytest.mark.parametrize(
    ("kind", "value", "tag"),
    [("i2", -32768, "-32768"), ("i2", -32768, None), ("i4", -9999, None), ("i4", 5, "5"), ("u2", 0, "0"),
     ("u2", 65535, "65535"), ("u2", 65535, None), ("u2", 0, None)],
)  # fmt: skip
def test_what_means_nodata_in_integers_is_left_out(kind: str, value: int, tag: str | None) -> None:
    samples = (SCENE * 10 + 5000).astype(kind)
    plain = decode(tiff(samples))[..., 0]
    assert plain.max() - plain.min() == 255
    assert differs_outside(tiff(with_block(samples, value), nodata=tag), plain) <= 1


@pytest.mark.parametrize("tag", ["", "none", "1e999", "\xff", "99999999", "0.5"])
def test_a_tag_that_names_no_possible_sample_does_no_harm(tag: str) -> None:
    samples = (SCENE * 10 + 5000).astype(np.uint16)
    assert np.array_equal(decode(tiff(samples, nodata=tag)), decode(tiff(samples)))


@pytest.mark.parametrize("value", [1e6, 65535.0, -500.0, np.inf, np.nan])
@pytest.mark.parametrize("share", [0.0005, 0.01])
def test_hot_and_dead_pixels_neither_set_the_range_nor_stay(value: float, share: float) -> None:
    hot = KELVIN.astype(np.float32)
    hot[np.random.default_rng(5).random(hot.shape) < share] = value
    assert np.abs(decode(tiff(hot))[..., 0].astype(int) - PLAIN).mean() < 0.5
    assert np.abs(decode(tiff(hot))[..., 0].astype(int) - PLAIN).max() < 40


def test_a_cluster_and_a_broken_line_do_not_set_the_range() -> None:
    broken = KELVIN.astype(np.float32)
    broken[40:44, 50:54] = 1e5
    broken[7] = -1e5
    assert np.abs(decode(tiff(broken))[10:38, ..., 0].astype(int) - PLAIN[10:38]).max() <= 1


def test_a_small_hot_object_on_a_flat_ground_is_shown() -> None:
    sea = np.full((80, 96), 280, np.float32)
    sea[30:33, 40:44] = 310
    picture = decode(tiff(sea))[..., 0]
    assert (picture[30:33, 40:44] == 255).all()
    assert (picture[:28] == 0).all()


@pytest.mark.parametrize("bits", [10, 11, 12, 14])
def test_grey_and_colour_that_leave_high_bits_unused_are_stretched(bits: int) -> None:
    samples = (SCENE * ((1 << bits) - 1) / 190).astype(np.uint16)
    expected = SCENE * 255 / 190
    colour = np.stack([samples, samples // 2, samples // 4], axis=-1)
    png = raw_png(96, 80, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples))
    colour_png = raw_png(96, 80, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour))
    for data in (tiff(samples), png):
        assert np.abs(decode(data)[..., 0] - expected).max() <= 1.5
    for data in (tiff(colour), colour_png):  # one scale for all bands keeps the hue
        assert np.abs(decode(data) - np.stack([expected, expected / 2, expected / 4], axis=-1)).max() <= 1.5


@pytest.mark.parametrize("offset", [7000, 30000])
def test_counts_of_a_thermal_camera_are_stretched_from_the_coldest_to_the_hottest(offset: int) -> None:
    grey = decode(tiff((SCENE * 12 + offset).astype(np.uint16)))[..., 0]
    assert np.abs(grey - (SCENE - 20) * 255 / 170).max() <= 1.5


def test_16_bits_in_use_keep_their_white() -> None:
    full = (SCENE * 257).astype(np.uint16)
    assert np.array_equal(decode(tiff(full))[..., 0], (full >> 8).astype(np.uint8))
    assert (to_8_bits(np.full((8, 8), 65535, np.uint16), 65535) == 255).all()
    levels = np.where(SCENE > 100, 65535, 0).astype(np.uint16)
    assert np.array_equal(decode(tiff(levels))[..., 0], (levels >> 8).astype(np.uint8))


def test_8_bits_are_what_they_are_whatever_the_nodata_tag_says() -> None:
    samples = SCENE.astype(np.uint8)
    assert np.array_equal(decode(tiff(samples, nodata="20"))[..., 0], samples)


def test_a_picture_without_a_sample_that_counts_is_black() -> None:
    assert (decode(tiff(np.full((8, 8), np.nan, np.float32))) == 0).all()
    assert (decode(tiff(np.full((8, 8), -9999, np.float32), nodata="-9999")) == 0).all()
