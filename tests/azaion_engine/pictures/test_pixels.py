"""Pixels: every kind of stored pixels becomes upright 8-bit RGB."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from azaion_engine.pictures.codec import decode, read_header
from tests.azaion_engine.pictures.picture_files import (
    BLUE,
    GREEN,
    LOSSLESS,
    RAMP,
    RED,
    WHITE,
    close,
    corners,
    encode,
    exif,
    raw_png,
    raw_tiff,
    stored,
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_comes_out_upright(format: str, orientation: int) -> None:
    if format == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = orientation
        options: dict[str, Any] = {"tiffinfo": tags}
    else:
        options = {"exif": exif(orientation), **LOSSLESS.get(format, {})}
    data = encode(stored(orientation), format, **options)
    header = read_header(data)
    picture = decode(data)
    assert (header.orientation, header.width, header.height) == (orientation, 48, 32)
    assert picture.shape == (32, 48, 3)
    assert picture.flags.c_contiguous
    # Not at the edges between colours, which JPEG blurs.
    for y, x, colour in ((8, 12, RED), (8, 36, GREEN), (24, 12, BLUE), (24, 36, WHITE)):
        assert close(picture[y - 4 : y + 4, x - 6 : x + 6], colour), (y, x)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_a_compressed_tiff_is_turned_upright_once(compression: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 6
    picture = decode(encode(stored(6), "TIFF", compression=compression, tiffinfo=tags))
    assert picture.shape == (32, 48, 3)
    assert close(picture[8, 12], RED)
    assert close(picture[24, 36], WHITE)


def test_an_adobe_cmyk_jpeg_gets_its_colours_and_not_their_negative() -> None:
    # Pillow writes CMYK inverted and with an Adobe marker, as Photoshop does.
    ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    assert close(decode(encode(ink, "JPEG", quality=95)), (255, 0, 0), 6)
    black = Image.new("CMYK", (32, 32), (0, 0, 0, 255))
    assert close(decode(encode(black, "JPEG", quality=95)), (0, 0, 0), 6)


def test_a_ycck_jpeg_decodes() -> None:
    # The four components stay as they are; only Adobe's transform byte now says that the first three are YCC.
    data = bytearray(encode(Image.new("CMYK", (32, 32), (255, 255, 255, 0)), "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2
    # Stored (inverted) 0, 0, 0, 255: Y=0, Cb=Cr=0 is a dark green in RGB, read as inverted CMY.
    picture = decode(bytes(data))
    assert picture.shape == (32, 32, 3)
    assert picture[..., 1].mean() != picture[..., 0].mean()


def test_alpha_is_dropped_and_the_colours_under_it_kept() -> None:
    rgba = np.dstack([corners(), np.zeros((32, 48), np.uint8)])
    for format in ("PNG", "TIFF"):
        assert np.array_equal(decode(encode(rgba, format)), corners()), format
    assert np.array_equal(decode(encode(rgba, "WEBP", lossless=True, exact=True)), corners())
    grey_alpha = Image.merge("LA", [Image.new("L", (8, 8), 90), Image.new("L", (8, 8), 0)])
    assert (decode(encode(grey_alpha, "PNG")) == 90).all()


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_palette_pictures_keep_their_colours(transparency: int | bytes | None) -> None:
    palette = Image.fromarray(corners()).quantize(4)
    options = {} if transparency is None else {"transparency": transparency}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode(encode(palette, "PNG", **options)), corners())
    for format in ("BMP", "TIFF"):
        assert np.array_equal(decode(encode(palette, format)), corners())


def test_grey_and_rgb_with_a_transparent_colour_decode() -> None:
    assert (decode(encode(Image.new("L", (8, 8), 77), "PNG", transparency=77)) == 77).all()
    assert np.array_equal(decode(encode(corners(), "PNG", transparency=RED)), corners())


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_one_bit_pictures_become_black_and_white(format: str) -> None:
    bits = Image.fromarray(np.tile([[0, 255], [255, 0]], (8, 8)).astype(np.uint8)).convert("1")
    picture = decode(encode(bits, format))
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[0, 1].tolist() == [255, 255, 255]


RAMP_8 = (RAMP >> 8).astype(np.uint8)


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    for data in (
        raw_png(256, 8, 16, 0, b"".join(b"\0" + row.astype(">u2").tobytes() for row in RAMP)),
        encode(Image.fromarray(RAMP), "TIFF"),
        encode(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
        raw_tiff(RAMP, 1),
        raw_tiff(RAMP, 1, ">"),
    ):
        picture = decode(data)
        assert picture.shape == (8, 256, 3)
        assert np.array_equal(picture, np.repeat(RAMP_8[..., None], 3, axis=2))


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_12_bits_in_16_are_stretched_with_and_without_alpha(colour: int) -> None:
    grey = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (8, 1))
    bands = {0: [grey], 2: [grey] * 3, 4: [grey, grey[:, ::-1]], 6: [grey] * 3 + [grey[:, ::-1]]}[colour]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.dstack(bands))
    assert close(decode(raw_png(256, 8, 16, colour, rows)), np.arange(256)[None, :, None], 1)


def test_16_bit_white_is_zero_is_inverted() -> None:
    assert np.array_equal(decode(raw_tiff(RAMP, 0))[..., 0], 255 - RAMP_8)


def test_16_bit_grey_is_turned_upright() -> None:
    picture = decode(raw_tiff(RAMP, 1, t274=6))
    assert picture.shape == (256, 8, 3)
    assert picture[0, 0, 0] == 0
    assert picture[255, 0, 0] == 255


def test_float_grey_from_0_to_1_is_scaled() -> None:
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (8, 1))
    picture = decode(encode(Image.fromarray(ramp), "TIFF"))
    assert np.array_equal(picture[0, :, 0], np.arange(256))
    half = decode(encode(Image.fromarray(ramp / 2), "TIFF"))
    assert half.max() in (127, 128)


def test_float_grey_of_several_strips_has_one_scale_and_knows_no_infinity() -> None:
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 9000, axis=1)  # several strips
    ramp[3, :] = np.inf
    grey = decode(encode(Image.fromarray(ramp), "TIFF"))[:, 0, 0]
    assert grey.tolist() == [0 if level == 3 else level for level in range(256)]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_grey_without_a_defined_white_is_stretched(value: float) -> None:
    ramp = np.tile(np.linspace(200, 320, 256, dtype=np.float32), (8, 1))  # a thermal camera's kelvins
    assert np.array_equal(decode(encode(Image.fromarray(ramp), "TIFF"))[0, :, 0], np.arange(256))
    ramp[3, 3] = value
    assert decode(encode(Image.fromarray(ramp), "TIFF")).shape == (8, 256, 3)


def test_signed_and_32_bit_grey_is_stretched() -> None:
    signed = np.tile(np.linspace(-1000, 1000, 256).astype(np.int16), (8, 1))
    picture = decode(raw_tiff(signed, 1, sample_format=2))
    assert (picture.min(), picture.max()) == (0, 255)
    assert (np.diff(picture[0, :, 0].astype(int)) >= 0).all()
    flat = decode(encode(Image.fromarray(np.full((8, 8), 70000, np.int32)), "TIFF"))
    assert flat.shape == (8, 8, 3)


def test_16_bit_colour_takes_the_high_byte() -> None:
    samples = np.random.default_rng(3).integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    data = raw_png(8, 8, 16, 2, b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples))
    assert np.array_equal(decode(data), (samples >> 8).astype(np.uint8))
