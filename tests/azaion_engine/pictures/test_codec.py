"""Decoding: every file is built here, with Pillow or by byte surgery, and judged by independent expectations."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zlib
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, TiffImagePlugin

from azaion_engine.errors import (
    EmptyBodyError,
    InvalidParameterError,
    InvalidTensorError,
    PictureError,
    PictureTooLargeError,
    UndecodablePictureError,
    UnsupportedPictureError,
)
from azaion_engine.pictures import encoded
from azaion_engine.pictures.codec import decode, encode_jpeg, read_header
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits

# Pillow warns about the metadata of many damaged files.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 40), (30, 40, 210), (250, 250, 250)
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]
LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}


def corners(width: int = 48, height: int = 32) -> np.ndarray:
    """Top left red, top right green, bottom left blue, bottom right white."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = GREEN
    picture[height // 2 :, : width // 2] = BLUE
    picture[height // 2 :, width // 2 :] = WHITE
    return picture


def noise(width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(picture: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def raw_tiff(picture: np.ndarray, photometric: int, order: str = "<", sample_format: int = 1, **more: int) -> bytes:
    """A minimal uncompressed one-strip TIFF of grey samples, by the TIFF 6.0 specification."""
    height, width = picture.shape
    body = picture.astype(picture.dtype.newbyteorder(order)).tobytes()
    tags = {
        256: width, 257: height, 258: picture.dtype.itemsize * 8, 259: 1, 262: photometric, 273: 0, 277: 1,
        278: height, 279: len(body), 339: sample_format, **{int(k[1:]): v for k, v in more.items()},
    }  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return start + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0) + body


def close(picture: np.ndarray, expected: Any, tolerance: int = 12) -> bool:
    return bool((np.abs(picture.astype(int) - np.asarray(expected)) <= tolerance).all())


# --- orientation -----------------------------------------------------------------------------------


# What is stored top left, top right, bottom left, bottom right so that the upright picture is `corners()`, straight
# from the definition of tag 0x0112: "row 0 is the visual top, column 0 the visual left" and so on.
STORED = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN),
    5: (RED, BLUE, GREEN, WHITE),
    6: (GREEN, WHITE, RED, BLUE),
    7: (WHITE, GREEN, BLUE, RED),
    8: (BLUE, RED, WHITE, GREEN),
}


def stored(orientation: int, long_side: int = 48, short_side: int = 32) -> np.ndarray:
    width, height = (long_side, short_side) if orientation < 5 else (short_side, long_side)
    picture = np.zeros((height, width, 3), np.uint8)
    for colour, rows, columns in zip(STORED[orientation], (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        picture[rows * height // 2 :][: height // 2, columns * width // 2 :][:, : width // 2] = colour
    return picture


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
    # Away from the seams, which a JPEG blurs.
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


def test_a_png_with_its_exif_behind_the_pixels_is_turned_too() -> None:
    data = encode(stored(6), "PNG")
    end = data.rindex(b"IEND") - 4
    data = data[:end] + png_chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")) + data[end:]
    assert read_header(data).width == 48
    assert np.array_equal(decode(data), corners())


def test_a_progressive_jpeg_and_a_grey_one_are_turned_like_any_other() -> None:
    assert decode(encode(stored(8), "JPEG", progressive=True, exif=exif(8))).shape == (32, 48, 3)
    assert decode(encode(Image.fromarray(stored(8)).convert("L"), "JPEG", exif=exif(8))).shape == (32, 48, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "broken",
    [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", exif(6)[:-6], exif(99), exif(0), b"x" * 60],
)
def test_broken_exif_leaves_the_picture_as_stored(format: str, broken: bytes) -> None:
    data = encode(corners(), format, exif=broken, **LOSSLESS.get(format, {}))
    if broken in (exif(6)[:-6],):
        assert decode(data).shape in ((32, 48, 3), (48, 32, 3))  # cut behind the value
    else:
        assert decode(data).shape == (32, 48, 3)


@given(st.binary(max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_bytes_as_exif_still_give_a_picture(body: bytes) -> None:
    jpeg = encode(corners(16, 16), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + body)
    assert decode(jpeg).shape == (16, 16, 3)
    jpeg = encode(corners(16, 16), "JPEG", exif=b"Exif\0\0" + body)
    assert decode(jpeg).shape == (16, 16, 3)


def test_orientation_in_xmp_alone_is_ignored_in_every_format() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    assert decode(encode(corners(), "WEBP", xmp=xmp)).shape == (32, 48, 3)
    assert decode(encode(corners(), "JPEG", xmp=xmp)).shape == (32, 48, 3)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700] = xmp
    tags.tagtype[700] = 1
    assert decode(encode(corners(), "TIFF", tiffinfo=tags)).shape == (32, 48, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_icc_profiles_good_or_broken_do_no_harm(format: str) -> None:
    good = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (good, b"not a profile", good[:100]):
        data = encode(corners(), format, icc_profile=profile, **LOSSLESS.get(format, {}))
        assert close(decode(data)[8, 12], RED)


# --- pixels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_plain_colours_survive(format: str) -> None:
    picture = decode(encode(corners(), format, **LOSSLESS.get(format, {})))
    assert picture.dtype == np.uint8
    assert picture.flags.writeable
    assert close(picture[8:12, 8:16], RED)
    if format != "JPEG":
        assert np.array_equal(picture, corners())


@pytest.mark.parametrize("subsampling", [0, 1, 2, "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(64, 48), (37, 23), (1, 1), (8, 1)])
def test_jpegs_decode_to_the_pixels_that_pillow_gives(
    size: tuple[int, int], progressive: bool, subsampling: int | str
) -> None:
    for image in (Image.fromarray(noise(*size)), Image.fromarray(noise(*size)).convert("L")):
        data = encode(image, "JPEG", progressive=progressive, subsampling=subsampling, quality=85)
        expected = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.array_equal(decode(data), expected)


def test_a_jpeg_with_restart_markers_or_stored_as_rgb_decodes() -> None:
    for options in ({"restart_marker_rows": 1}, {"restart_marker_blocks": 2}, {"keep_rgb": True, "quality": 95}):
        data = encode(corners(), "JPEG", **options)
        assert close(decode(data)[8, 8], RED), options


def test_an_adobe_cmyk_jpeg_gets_its_colours_and_not_their_negative() -> None:
    # Pillow writes CMYK inverted with an Adobe marker, as Photoshop does.
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


RAMP = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (8, 1))
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
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[:, None], 9000, axis=1)  # 2.3 million samples
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


def test_an_interlaced_png_decodes() -> None:
    picture = noise(8, 8)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
    rows = b""
    for x, y, step_x, step_y in passes:
        rows += b"".join(b"\0" + row.tobytes() for row in picture[y::step_y, x::step_x])
    assert np.array_equal(decode(raw_png(8, 8, 8, 2, rows, interlace=1)), picture)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), BLUE)]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:], **LOSSLESS.get(format, {}))
    assert close(decode(data), RED)
    if format == "MPO":
        assert read_header(data).format == "JPEG"


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_bytes_behind_the_end_of_a_jpeg_are_ignored(options: dict[str, Any]) -> None:
    data = encode(corners(), "JPEG", **options)
    for tail in (b"\0" * 37, b"SEFT\xff\xd9" * 9, data[:50], b"\xff" * 5):
        assert np.array_equal(decode(data + tail), decode(data))


def test_a_phones_moving_picture_behind_a_jpeg_is_ignored() -> None:
    data = encode(corners(), "JPEG", exif=exif(1))
    assert np.array_equal(decode(data + b"\xff\xda" * 200), decode(data))  # chance gives 15 a megabyte


# --- refusals --------------------------------------------------------------------------------------


def test_no_bytes_are_an_empty_body() -> None:
    with pytest.raises(EmptyBodyError):
        decode(b"")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"GIF89a" + b"\0" * 20, "GIF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 20, "HEIC"),
        (b"\0\0\0\x18ftypavif" + b"\0" * 20, "AVIF"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 20, "video"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"data:image/png;base64,iVBOR", "data URL"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n', "multipart"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"BMW is a car maker, not a bitmap", "no picture"),
        (b"hello", "no picture"),
        (b"\0", "no picture"),
    ],
)
def test_other_files_are_named_and_what_is_accepted_is_said(data: bytes, word: str) -> None:
    with pytest.raises(UnsupportedPictureError, match=word) as caught:
        decode(data)
    assert "JPEG, PNG, WebP, BMP, TIFF" in str(caught.value)
    assert caught.value.code == "not_a_picture"


def strip_tiff(picture: np.ndarray, planes: int, sample_format: int = 1) -> bytes:
    """A minimal uncompressed RGB TIFF, its bands together in one strip (planes 1) or in three (2)."""
    height, width, bands = picture.shape
    stored = picture.transpose(2, 0, 1) if planes == 2 else picture
    body, strips = stored.tobytes(), bands if planes == 2 else 1
    tags = {
        256: [width], 257: [height], 258: [picture.dtype.itemsize * 8] * bands, 259: [1], 262: [2], 273: [0] * strips,
        277: [bands], 278: [height], 279: [len(body) // strips] * strips, 284: [planes], 339: [sample_format] * bands,
    }  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    size = 4 * sum(len(values) for values in tags.values() if len(values) > 1)
    tags[273] = [behind + size + i * (len(body) // strips) for i in range(strips)]
    entries, arrays = b"", b""
    for tag, values in tags.items():
        entries += struct.pack("<HHII", tag, 4, len(values), values[0] if len(values) == 1 else behind + len(arrays))
        arrays += struct.pack(f"<{len(values)}I", *values) if len(values) > 1 else b""
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + arrays + body


def test_bands_stored_apart_come_out_right_or_are_refused() -> None:
    colour = np.full((16, 24, 3), RED, np.uint8)
    for planes in (1, 2):
        assert close(decode(strip_tiff(colour, planes)), RED)
    deep = colour.astype(np.uint16) * 257
    assert close(decode(strip_tiff(deep, planes=1)), RED)
    with pytest.raises(UnsupportedPictureError, match="16 bits with separate planes"):
        decode(strip_tiff(deep, planes=2))


def test_a_whole_tiff_of_unusual_samples_is_unsupported_and_not_called_damaged() -> None:
    with pytest.raises(UnsupportedPictureError, match="TIFF with pixels of a kind"):
        decode(strip_tiff(np.zeros((16, 24, 3), np.float32), planes=1, sample_format=3))


def test_a_camera_raw_file_is_refused_and_its_thumbnail_not_taken_for_it() -> None:
    with pytest.raises(UnsupportedPictureError, match="raw"):
        decode(raw_tiff(RAMP, 1, t254=1))


def test_a_run_length_bmp_is_refused() -> None:
    data = bytearray(encode(Image.new("L", (8, 8)), "BMP"))
    data[30] = 1
    with pytest.raises(UnsupportedPictureError, match="run-length"):
        decode(bytes(data))


@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_picture_is_damaged_wherever_it_is_cut(format: str) -> None:
    data = encode(noise(), format)
    for length in {3, 9, 20, 40, 100, len(data) // 2, len(data) * 3 // 4, len(data) - 40}:
        with pytest.raises(PictureError):
            decode(data[:length])
    with pytest.raises(UndecodablePictureError, match="damaged or truncated"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": exif(1), "comment": b"\xff\xd9"}])
def test_a_jpeg_without_its_end_is_damaged(options: dict[str, Any]) -> None:
    data = encode(noise(200, 200), "JPEG", **options)
    for cut in (2, 3, 50, len(data) // 2):
        with pytest.raises(UndecodablePictureError):
            decode(data[:-cut])


def test_a_jpeg_with_a_foreign_marker_in_its_pixels_is_damaged_or_whole_but_pillow_decides() -> None:
    data = bytearray(encode(noise(200, 200), "JPEG"))
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\xc0"
    with pytest.raises(UndecodablePictureError):
        decode(bytes(data))


def test_limits_name_the_limit_and_what_was_given() -> None:
    data = encode(noise(64, 48), "PNG")
    with pytest.raises(PictureTooLargeError, match=f"{len(data)} bytes, at most 100"):
        decode(data, PictureLimits(max_bytes=100))
    for format in FORMATS:
        with pytest.raises(PictureTooLargeError, match="64×48 = 3072 pixels, at most 3071"):
            decode(encode(noise(64, 48), format), PictureLimits(max_pixels=3071))
        assert decode(encode(noise(64, 48), format), PictureLimits(max_pixels=3072)).shape == (48, 64, 3)


def test_a_decompression_bomb_is_refused_by_its_header_alone() -> None:
    png = raw_png(60000, 60000, 8, 2, b"")
    bmp = bytearray(encode(noise(8, 8), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    jpeg = bytearray(encode(noise(8, 8), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff\x3f\0" * 2 + b"\0" * 20
    tiff = raw_tiff(RAMP, 1, t256=60000, t257=60000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in (png, bytes(bmp), bytes(jpeg), webp, tiff):
            with pytest.raises(PictureTooLargeError):
                decode(data)


def test_pillows_own_state_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for format in ("JPEG", "PNG", "BMP"):  # the process-wide limit is not ours
        assert decode(encode(noise(), format)).shape == (48, 64, 3)
    for format in ("WEBP", "TIFF"):  # newer Pillows enforce it inside these plug-ins
        try:
            assert decode(encode(noise(), format)).shape == (48, 64, 3)
        except PictureTooLargeError as error:
            assert "Pillow is set to accept" in str(error)  # noqa: PT017 (either is right)
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


SEEDS = [
    *(encode(noise(24, 16), format) for format in FORMATS),
    encode(noise(24, 16), "JPEG", progressive=True, exif=exif(6)),
    encode(Image.fromarray(noise(24, 16)).convert("CMYK"), "JPEG"),
    encode(Image.fromarray(noise(24, 16)).quantize(16), "PNG", transparency=3),
    encode(noise(24, 16), "WEBP", lossless=True, exif=exif(6)),
    encode(noise(24, 16), "TIFF", compression="tiff_lzw"),
    encode(noise(24, 16), "TIFF", compression="jpeg"),
    encode(noise(24, 16), "TIFF", compression="packbits"),
    encode(Image.fromarray(noise(24, 16)).quantize(16), "BMP"),
    encode(Image.new("RGB", (16, 16)), "PNG", save_all=True, append_images=[Image.new("RGB", (16, 16), RED)]),
    encode(Image.new("RGB", (16, 16)), "WEBP", save_all=True, append_images=[Image.new("RGB", (16, 16), RED)]),
    raw_tiff(RAMP, 1),
    raw_png(8, 8, 16, 0, b"\0" * 136),
]


@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8),
    early=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 2**16)),
)
@settings(max_examples=1200, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_raise_anything_but_a_picture_error(
    seed: bytes, edits: list[tuple[int, int]], early: list[tuple[int, int]], cut: int | None
) -> None:
    data = bytearray(seed)
    for position, value in edits + early:  # headers are at the start and matter most
        data[position % len(data)] = value
    try:
        # A small pixel limit keeps "valid but now enormous" pictures from taking the test's time.
        picture = decode(bytes(data[: cut % len(data)] if cut is not None else data), PictureLimits(max_pixels=10**6))
    except PictureError:
        return
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3


@given(st.binary(max_size=100), st.sampled_from([b"", *(s[:16] for s in SEEDS)]))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_raise_a_picture_error(body: bytes, start: bytes) -> None:
    with pytest.raises(PictureError):
        decode(start + body)


def test_many_threads_decode_the_same_pictures() -> None:
    pictures = {data: decode(data) for data in (encode(noise(), format) for format in FORMATS)}
    wrong: list[str] = []

    def work() -> None:
        for data, expected in pictures.items():
            if not np.array_equal(decode(data), expected):
                wrong.append("different pixels")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- encoding --------------------------------------------------------------------------------------


def test_an_encoded_jpeg_decodes_to_about_the_same_picture() -> None:
    assert close(decode(encode_jpeg(corners(64, 64), 95))[8:24, 8:24], RED)
    assert len(encode_jpeg(noise(), 30)) < len(encode_jpeg(noise(), 95))


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(InvalidTensorError, match="float32"):
        encode_jpeg(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="101"):
        encode_jpeg(corners(), 101)
    with pytest.raises(PictureTooLargeError):
        encode_jpeg(np.zeros((1, 66000, 3), np.uint8))


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_costs_minutes():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (10, 200, 30)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(UndecodablePictureError, match="scans"):
        decode(data[:-2] + last_scan * 500 + data[-2:])


@given(st.binary(max_size=40).map(lambda noise: noise.replace(b"\x80", b"\xff")), st.integers(0, 40))
def test_the_first_marker_is_found_across_steps_and_nothing_that_only_looks_like_one(data: bytes, start: int) -> None:
    pairs = ((data[at], data[at + 1]) for at in range(start, len(data) - 1))
    markers = (second for first, second in pairs if first == 0xFF and second not in {0, *range(0xD0, 0xD8), 0xFF})
    with mock.patch.object(encoded, "_SCAN_STEP", 7):
        assert encoded._first_marker(data, start) == next(markers, None)


@pytest.mark.parametrize(
    ("options", "hardware"),
    [
        ({}, True),
        ({"subsampling": 0}, True),
        ({"subsampling": 1}, True),
        ({"restart_marker_rows": 1}, True),
        ({"optimize": True}, True),
        ({"progressive": True}, False),
        ({"keep_rgb": True, "subsampling": 0}, False),
    ],
)
def test_what_decoding_hardware_takes(options: dict[str, object], hardware: bool) -> None:
    data = encode(corners(), "JPEG", exif=exif(6), **options)
    header = EncodedPicture(data).read_hardware_header()
    assert (header is not None) == hardware
    if header is not None:
        assert header == read_header(data)
        assert EncodedPicture(data[:-10]).read_hardware_header() is None


def test_decoding_hardware_takes_grey_jpegs_and_no_other_format_or_colours() -> None:
    assert EncodedPicture(encode(Image.fromarray(corners()).convert("L"), "JPEG")).read_hardware_header() is not None
    assert EncodedPicture(encode(Image.fromarray(corners()).convert("CMYK"), "JPEG")).read_hardware_header() is None
    factor = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
    assert EncodedPicture(cv2.imencode(".jpg", corners(), factor)[1].tobytes()).read_hardware_header() is None
    for format in ("PNG", "WEBP", "BMP", "TIFF"):
        assert EncodedPicture(encode(corners(), format)).read_hardware_header() is None
    with pytest.raises(PictureTooLargeError):
        EncodedPicture(encode(corners(), "JPEG"), PictureLimits(max_pixels=10)).read_hardware_header()


@pytest.mark.parametrize(
    "piece", [b"\xff\xe5\0\x02", b"\xff\xfe\0\x02", b"\xff", b"\0"], ids=["APP5", "COM", "fill", "junk"]
)
def test_a_jpeg_whose_header_has_no_end_is_refused_before_it_costs_seconds(piece: bytes) -> None:
    jpeg = encode(corners(), "JPEG")
    begin, rest = jpeg[:20], jpeg[20:]  # behind JFIF's segment
    with pytest.raises(UndecodablePictureError, match="pieces"):
        decode(begin + piece * 200_000 + rest)
    assert decode(begin + piece * 100 + rest).shape == corners().shape


def test_a_png_of_a_great_many_chunks_is_refused_before_it_costs_seconds() -> None:
    png = encode(corners(), "PNG")
    chunk = struct.pack(">I4sI", 0, b"prVt", zlib.crc32(b"prVt"))
    with pytest.raises(UndecodablePictureError, match="pieces"):
        decode(png[:33] + chunk * 200_000 + png[33:])
    assert decode(png[:33] + chunk * 100 + png[33:]).shape == corners().shape
