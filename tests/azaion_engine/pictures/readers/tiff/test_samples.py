"""TIFF samples: every number, type, order and packing of samples becomes the picture that it shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from azaion_engine.errors import PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.codec import decode, read_header
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from tests.azaion_engine.pictures.picture_files import RAMP, corners, raw_tiff
from tests.azaion_engine.pictures.readers.tiff_files import tiff

GREY = np.linspace(0, 255, 40 * 52).reshape(40, 52)
"""From black to white, of a size that no strip or tile divides."""
TYPES = ["u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


def samples_of(kind: str, bands: int = 1) -> np.ndarray:
    """Stores GREY in a type's own range; bands are shifted, so that a mix-up shows."""
    picture = np.stack([np.roll(GREY, 9 * band, axis=1) for band in range(bands)], axis=-1)
    span = {"u2": 257, "u4": 10**6, "u8": 10**9, "i1": 1, "i2": 100, "i4": 10**6, "i8": 10**9}.get(kind, 100)
    offset = {"i": -128, "u": 0, "f": -50}[kind[0]]
    return ((picture + offset) * span if kind[0] != "f" else picture * span + offset).astype(kind)


def shown(bands: int = 1) -> np.ndarray:
    picture = np.stack([np.roll(GREY, 9 * band, axis=1) for band in range(bands)], axis=-1)
    return np.repeat(picture, 3, axis=2) if bands == 1 else picture[..., :3]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_samples_of_every_type_show_the_picture(kind: str, bands: int) -> None:
    for order, big, separate, tile in itertools.product("<>", (False, True), (False, True), (0, 16)):
        data = tiff(samples_of(kind, bands), order=order, big=big, separate=separate, tile=tile)
        assert np.abs(decode(data) - shown(bands)).max() <= 1.1, (order, big, separate, tile)


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_predictors_are_undone(kind: str, order: str) -> None:
    for bands, tile, predictor in itertools.product((1, 3), (0, 16), (2, 3) if kind[0] == "f" else (2,)):
        data = tiff(samples_of(kind, bands), order=order, tile=tile, deflate=True, predictor=predictor)
        assert np.abs(decode(data) - shown(bands)).max() <= 1.1, (bands, tile, predictor)


def test_samples_of_12_bits_are_unpacked() -> None:
    levels = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (4, 1))
    pairs = levels.reshape(4, -1, 2).astype(np.uint32)
    joined = pairs[..., 0] << 12 | pairs[..., 1]
    packed = np.stack([joined >> 16, joined >> 8 & 255, joined & 255], axis=-1).astype(np.uint8).reshape(4, -1)
    data = raw_tiff(packed, 1, t256=64, t258=12)
    assert np.array_equal(decode(data)[..., 0], levels >> 4)


def test_of_two_samples_the_first_is_shown_and_of_many_the_red_green_and_blue_ones() -> None:
    first = np.stack([GREY, 255 - GREY], axis=-1).astype(np.uint8)
    assert np.array_equal(decode(tiff(first, photometric=1))[..., 0], first[..., 0])
    seven = np.concatenate([shown(3), shown(3), shown(1)[..., :1]], axis=-1).astype(np.uint8)
    assert np.array_equal(decode(tiff(seven, photometric=2, more={338: (0,) * 4})), seven[..., :3])
    with pytest.raises(UnsupportedPictureError, match="7 bands"):
        decode(tiff(seven, photometric=1))


def test_a_deep_tiff_is_turned_upright() -> None:
    picture = decode(tiff(samples_of("f4"), more={274: (6,)}))
    assert np.abs(picture[..., 0] - np.rot90(GREY, -1)).max() <= 1.1
    assert read_header(tiff(samples_of("f4"), more={274: (6,)})).width == 40


def test_bigtiffs_of_either_order_with_8_bits_decode() -> None:
    for order in "<>":
        assert np.array_equal(decode(tiff(corners(), order=order, big=True)), corners())
        assert np.array_equal(decode(tiff(corners()[..., 0], order=order, big=True))[..., 0], corners()[..., 0])


def test_uncompressed_ycbcr_with_two_by_two_luma_samples_decodes() -> None:
    units = np.full((8, 8, 6), 0, np.uint8)  # four luma samples, then blue and red difference
    units[..., :4], units[..., 4], units[..., 5] = 76, 85, 255  # red, by ITU-R BT.601
    ycc = {256: (16,), 257: (16,), 258: (8,) * 3, 277: (3,), 339: (1,) * 3, 530: (2, 2)}
    data = tiff(units.reshape(8, -1), photometric=6, rows=16, more=ycc)
    assert np.abs(decode(data).astype(int) - (254, 0, 0)).max() <= 3
    with pytest.raises(UndecodablePictureError):
        decode(data[:200])


def test_missing_strips_and_unusual_samples_are_named() -> None:
    with pytest.raises(UndecodablePictureError, match="cut off"):
        decode(tiff(samples_of("f4"), more={257: (4000,)}))
    with pytest.raises(UndecodablePictureError, match="missing"):
        decode(tiff(samples_of("f4"), deflate=True, more={257: (4000,)}))
    with pytest.raises(UnsupportedPictureError, match="complex"):
        decode(tiff(np.zeros((8, 8), np.complex64)))
    for number, name in ((34712, "JPEG 2000"), (34887, "LERC"), (50001, "WebP"), (34925, "LZMA")):
        with pytest.raises(UnsupportedPictureError, match=name):
            decode(tiff(corners(), more={259: (number,)}))


def test_size_and_memory_are_known_before_pixels_are_decoded() -> None:
    data = tiff(samples_of("f8", 3))
    with pytest.raises(PictureTooLargeError):
        decode(data, PictureLimits(max_pixels=40 * 52 - 1))
    few = EncodedPicture(tiff(samples_of("u2"))).decoding_bytes()
    assert EncodedPicture(data).decoding_bytes() > few + 40 * 52 * 24


def test_a_cut_deep_tiff_is_damaged() -> None:
    for deflate in (False, True):
        data = tiff(np.random.default_rng(3).normal(0, 1, (64, 64)).astype(np.float32), deflate=deflate)
        broken = bytearray(data)
        broken[100:4000] = bytes(3900)
        with pytest.raises(UndecodablePictureError):
            decode(data[: len(data) // 2])
        if deflate:
            with pytest.raises(UndecodablePictureError):
                decode(bytes(broken))


def test_white_is_zero_is_inverted_at_every_depth() -> None:
    assert decode(tiff(RAMP.astype(np.float32), photometric=0))[0, 0, 0] == 255


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("white", [0, 1])
def test_bytes_with_their_low_bits_first_show_the_picture(bands: int, white: int) -> None:
    picture = np.stack([np.roll(GREY, 9 * band, axis=1) for band in range(bands)], axis=-1).astype(np.uint8)
    mirrored = np.packbits(np.unpackbits(picture), bitorder="little").reshape(picture.shape)
    extra: dict[int, tuple[int, ...]] = {338: (2,)} if bands == 4 else {}
    data = tiff(mirrored, photometric=white if bands == 1 else 2, more={266: (2,), **extra})
    expected = np.repeat(picture, 3, axis=2) if bands == 1 else picture[..., :3]
    np.testing.assert_array_equal(decode(data), 255 - expected if bands == 1 and white == 0 else expected)


def test_numbers_of_a_palette_are_not_taken_for_grey() -> None:
    colours = tuple(range(0, 65536, 256)) * 3
    picture = GREY.astype(np.uint8)
    assert np.array_equal(decode(tiff(picture, photometric=3, more={320: colours}))[..., 0], picture)
    for some in ({}, {320: colours[:-3]}):
        with pytest.raises(UndecodablePictureError, match="palette are missing"):
            decode(tiff(picture, photometric=3, more=some))
    with pytest.raises(UnsupportedPictureError, match="16 bits, unsigned, palette"):
        decode(tiff(samples_of("u2"), photometric=3, more={320: colours}))
