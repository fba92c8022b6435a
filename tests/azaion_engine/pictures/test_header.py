"""PictureHeader: formats and variants accepted and refused, limits, and the orientation in EXIF."""

from __future__ import annotations

import struct
import warnings
import zlib
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, TiffImagePlugin

from azaion_engine.errors import EmptyBodyError, PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.codec import decode, read_header
from azaion_engine.pictures.header import PictureLimits
from tests.azaion_engine.pictures.picture_files import (
    FORMATS,
    LOSSLESS,
    RAMP,
    RED,
    close,
    corners,
    encode,
    exif,
    noise,
    png_chunk,
    raw_png,
    raw_tiff,
    stored,
)

# Pillow warns about the metadata of many damaged files.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_a_png_with_its_exif_behind_the_pixels_is_turned_too() -> None:
    data = encode(stored(6), "PNG")
    end = data.rindex(b"IEND") - 4
    data = data[:end] + png_chunk(b"eXIf", exif(6).removeprefix(b"Exif\0\0")) + data[end:]
    assert read_header(data).width == 48
    assert np.array_equal(decode(data), corners())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "broken",
    [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", exif(6)[:-6], exif(99), exif(0), b"x" * 60],
)
def test_broken_exif_leaves_the_picture_as_stored(format: str, broken: bytes) -> None:
    data = encode(corners(), format, exif=broken, **LOSSLESS.get(format, {}))
    if broken in (exif(6)[:-6],):
        assert decode(data).shape in ((32, 48, 3), (48, 32, 3))  # cut after the value
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


def test_no_bytes_are_an_empty_body() -> None:
    with pytest.raises(EmptyBodyError):
        decode(b"")


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"GIF89a" + b"\0" * 20, "GIF"),
        (b"\0\0\0\x18ftypmif1" + b"\0" * 20, "HEIF"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 20, "video"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"data:image/png;base64,iVBOR", "data URL"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n', "multipart"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"P5\n91 63\n255\n", "Netpbm"),
        (b"Pf 9 9 -1 ", "Netpbm"),
        (b"\0\0\2" + bytes(40) + b"\0\0\0\0\0\0\0\0TRUEVISION-XFILE.\0", "TGA"),
        (bytes(128) + b"DICM" + bytes(9), "DICOM"),
        (b"a.jpg".ljust(257, b"\0") + b"ustar\0", "tar archive"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0\4", "xz archive"),
        (b"II\xbc\x01\x20\0\0\0", "JPEG XR"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"#?RADIANCE\n", "Radiance"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
        (b"<head><title>404", "HTML"),
        (b"\r\n<!-- cached --><html>", "HTML"),
        ("hello".encode("utf-16"), "UTF-16"),
        (b'["a"]', "JSON"),
        (b"https://example.org/a.jpg", "URL"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff\xd8\xff", "HTTP response"),
        (b"\xff\xd8\xff\xe0".decode("latin-1").encode(), "converted to UTF-8"),
        (b"\xff\xd8\xff\xe0".decode("utf-8", "replace").encode(), "converted to UTF-8"),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", "line ends"),
        (b64encode(b"RIFF\x24\1\0\0WEBPVP8 "), "base64"),
        (b64encode(b"II*\0\x08\0\0\0"), "base64"),
        (b64encode(b"MM\0*\0\0\0\x08"), "base64"),
        (b64encode(b"\0\0\0\x20ftypavif"), "base64"),
        (b'"' + b64encode(b"\xff\xd8\xff\xe0") + b'"', "base64"),
        (b"Pf, a German sigh", "no picture"),
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


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_ends_in_its_header_is_said_to(data: bytes) -> None:
    with pytest.raises(UndecodablePictureError, match="header is cut off"):
        decode(data)


def test_a_bmp_with_os2s_short_header_is_called_a_bmp() -> None:
    data = b"BM" + struct.pack("<IHHI", 66, 0, 0, 30) + struct.pack("<IIIHH", 16, 4, 3, 1, 24) + bytes(36)
    with pytest.raises(UnsupportedPictureError, match="BMP"):
        decode(data)


def strip_tiff(picture: np.ndarray, planes: int, sample_format: int = 1) -> bytes:
    """Writes a minimal uncompressed RGB TIFF: bands in one strip (planes 1) or in a strip each (2)."""
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


def test_bands_stored_apart_come_out_right() -> None:
    colour = np.full((16, 24, 3), RED, np.uint8)
    for planes in (1, 2):
        assert close(decode(strip_tiff(colour, planes)), RED)
    deep = colour.astype(np.uint16) * 257
    for planes in (1, 2):
        assert close(decode(strip_tiff(deep, planes)), RED)


def test_a_whole_tiff_of_unusual_samples_is_unsupported_and_not_called_damaged() -> None:
    with pytest.raises(UnsupportedPictureError, match="3 samples of 64 bits, complex"):
        decode(strip_tiff(np.zeros((16, 24, 3), np.complex64), planes=1, sample_format=6))


def test_a_camera_raw_file_is_refused_and_its_thumbnail_not_taken_for_it() -> None:
    with pytest.raises(UnsupportedPictureError, match="raw"):
        decode(raw_tiff(RAMP, 1, t254=1))


def test_a_run_length_bmp_is_refused() -> None:
    data = bytearray(encode(Image.new("L", (8, 8)), "BMP"))
    data[30] = 1
    with pytest.raises(UnsupportedPictureError, match="run-length"):
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
    for format in ("JPEG", "PNG", "BMP"):  # our code ignores the process-wide limit
        assert decode(encode(noise(), format)).shape == (48, 64, 3)
    for format in ("WEBP", "TIFF"):  # newer Pillows enforce it inside these plug-ins
        try:
            assert decode(encode(noise(), format)).shape == (48, 64, 3)
        except PictureTooLargeError as error:
            assert "Pillow is set to accept" in str(error)  # noqa: PT017 (either is right)
    assert Image.MAX_IMAGE_PIXELS == 1000
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


@pytest.mark.parametrize(
    "piece", [b"\xff\xe5\0\x02", b"\xff\xfe\0\x02", b"\xff\0"], ids=["APP5", "COM", "fill and junk in turn"]
)
def test_a_jpeg_whose_header_has_no_end_is_refused_before_it_costs_seconds(piece: bytes) -> None:
    jpeg = encode(corners(), "JPEG")
    begin, rest = jpeg[:20], jpeg[20:]  # after the JFIF segment
    with pytest.raises(UndecodablePictureError, match="pieces"):
        decode(begin + piece * 200_000 + rest)
    assert decode(begin + piece * 100 + rest).shape == corners().shape


def test_a_png_of_a_great_many_chunks_is_refused_before_it_costs_seconds() -> None:
    png = encode(corners(), "PNG")
    chunk = struct.pack(">I4sI", 0, b"prVt", zlib.crc32(b"prVt"))
    with pytest.raises(UndecodablePictureError, match="pieces"):
        decode(png[:33] + chunk * 200_000 + png[33:])
    assert decode(png[:33] + chunk * 100 + png[33:]).shape == corners().shape
