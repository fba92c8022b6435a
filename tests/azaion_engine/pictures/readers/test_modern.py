"""AVIF, HEIC and JPEG XL: decoded upright within the limits, else refused by a message that names the extra."""

from __future__ import annotations

import io
import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from azaion_engine.errors import PictureError, PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.codec import decode, read_header
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.formats import sniff
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.readers.iso_boxes import MOST_BOXES, claimed_sizes
from azaion_engine.pictures.readers.iso_items import check_written
from azaion_engine.pictures.readers.jpeg_xl import JpegXlReader
from tests.azaion_engine.pictures.picture_files import BLUE, GREEN, RED, WHITE, close, corners, encode, exif


def avif(picture: np.ndarray, **options: object) -> bytes:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF decoder")
    return encode(picture, "AVIF", quality=95, subsampling="4:4:4", **options)


def heic(picture: np.ndarray, **options: object) -> bytes:
    plugin = pytest.importorskip("pillow_heif")
    heif = plugin.from_pillow(Image.fromarray(picture))
    buffer = io.BytesIO()
    heif.save(buffer, quality=95, chroma=444, **options)
    return buffer.getvalue()


def jpeg_xl(picture: np.ndarray, **options: object) -> bytes:
    return bytes(pytest.importorskip("imagecodecs").jpegxl_encode(picture, lossless=True, **options))


MAKERS = [(avif, "AVIF"), (heic, "HEIC"), (jpeg_xl, "JPEG XL")]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_colours_and_size_are_right(make, name: str) -> None:
    data = make(corners(96, 64))
    header = read_header(data)
    assert (sniff(data), header.format, header.width, header.height) == (name, name, 96, 64)
    picture = decode(data)
    assert picture.flags.c_contiguous
    assert picture.flags.writeable
    for colour, place in ((RED, (8, 8)), (GREEN, (8, 80)), (BLUE, (56, 8)), (WHITE, (56, 80))):
        assert close(picture[place], colour), place


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_alpha_is_dropped_and_grey_is_grey(make, name: str) -> None:
    rgba = np.dstack([corners(96, 64), np.full((64, 96), 9, np.uint8)])
    assert close(decode(make(rgba))[8, 8], RED)
    if make is not heic:  # pillow-heif writes grey as colour
        assert close(decode(make(corners(96, 64)[..., 0])), corners(96, 64)[..., :1])


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_bounds_hold_before_a_pixel_is_decoded(make, name: str) -> None:
    data = make(corners(96, 64))
    with pytest.raises(PictureTooLargeError, match="6144"):
        read_header(data, PictureLimits(max_pixels=6143))
    assert EncodedPicture(data).decoding_bytes() >= 96 * 64 * 20


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_cut_file_is_damaged_and_bytes_behind_the_end_do_no_harm(make, name: str) -> None:
    data = make(np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    for share in (0.1, 0.5, 0.95):
        with pytest.raises(PictureError):
            decode(data[: int(len(data) * share)])
    with pytest.raises(UndecodablePictureError):
        decode(data[: len(data) * 3 // 4])
    assert np.array_equal(decode(data + bytes(100)), decode(data))


@pytest.mark.parametrize(("make", "name"), MAKERS)
@pytest.mark.parametrize("blank", [b"\0", b"\xff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_was_never_written_to_its_end_is_damaged(make, name: str, share: float, blank: bytes) -> None:
    data = make(np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    written = int(len(data) * share)
    with pytest.raises(UndecodablePictureError):
        decode(data[:written] + blank * (len(data) - written))


@pytest.mark.parametrize(("make", "name"), MAKERS)
@pytest.mark.parametrize("blank", [b"\0", b"\xff"])
def test_a_file_of_which_a_part_was_never_written_is_damaged(make, name: str, blank: bytes) -> None:
    data = make(np.random.default_rng(1).integers(0, 255, (64, 96, 3), dtype=np.uint8))
    begin, end = len(data) // 2, len(data) // 2 + 400
    with pytest.raises(UndecodablePictureError):
        decode(data[:begin] + blank * (end - begin) + data[end:])


@pytest.mark.parametrize("make", [avif, heic])
def test_flat_pictures_and_exif_that_ends_with_zeros_are_whole(make) -> None:
    for level in (0, 128, 255):
        assert close(decode(make(np.full((700, 900, 3), level, np.uint8))), level)
    assert close(decode(make(corners(96, 64), exif=exif(1) + bytes(500)))[8, 8], RED)


@given(st.binary(max_size=60), st.sampled_from([b"iloc", b"iinf"]))
def test_any_bytes_as_places_of_items_are_left_to_the_decoder(body: bytes, name: bytes) -> None:
    inner = (8 + len(body)).to_bytes(4, "big") + name + body
    check_written((12 + len(inner)).to_bytes(4, "big") + b"meta" + bytes(4) + inner)


def test_orientations_are_applied_once() -> None:
    upright = corners(96, 64)
    turned = decode(avif(upright, exif=exif(6)))
    assert turned.shape == (96, 64, 3)
    assert close(turned[8, 56], RED)
    assert read_header(avif(upright, exif=exif(6))).width == 64


def test_deep_and_float_jpeg_xl_keep_their_levels() -> None:
    for deep in (corners().astype(np.uint16) * 257, corners().astype(np.float32) / 255):
        assert np.abs(decode(jpeg_xl(deep)).astype(int) - corners()).max() <= 1


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (8, 8), (256, 256), (400, 300), (640, 360), (1000, 500), (9, 300)]
)
def test_the_size_of_a_jpeg_xl_is_read_from_its_first_bytes(width: int, height: int) -> None:
    data = jpeg_xl(np.zeros((height, width, 3), np.uint8))
    header = read_header(data)
    assert (header.width, header.height) == (width, height)


@pytest.mark.parametrize(
    ("package", "data"),
    [("pillow_heif", b"\0\0\0\x18ftypheic" + b"\0" * 40), ("imagecodecs", b"\xff\x0a" + b"\0" * 40)],
)
def test_without_its_package_a_format_is_refused_by_name_with_the_extra(
    package: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedPictureError, match=r"given a (HEIC|JPEG XL).*azaion-engine\[formats\]"):
        decode(data)


def test_a_jpeg_xl_without_a_size_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", ModuleType("imagecodecs"))
    for data in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x10free" * 300):
        with pytest.raises(UndecodablePictureError):
            JpegXlReader(data)


def box(name: bytes, body: bytes) -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + name + body


def sized(width: int, height: int) -> bytes:
    return box(b"ispe", bytes(4) + width.to_bytes(4, "big") + height.to_bytes(4, "big"))


def test_the_largest_claimed_size_counts() -> None:
    boxes = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", sized(8, 8) + sized(60000, 60000))))
    data = box(b"ftyp", b"avif" + bytes(4)) + boxes
    assert claimed_sizes(data) == [(8, 8), (60000, 60000)]
    if features.check("avif"):
        with pytest.raises(PictureTooLargeError):
            decode(data)


def test_boxes_without_end_and_pixels_that_are_cut_off_are_refused() -> None:
    with pytest.raises(UndecodablePictureError, match="boxes"):
        claimed_sizes(box(b"free", b"") * (MOST_BOXES + 1))
    with pytest.raises(UndecodablePictureError, match="ends before"):
        claimed_sizes(box(b"meta", bytes(4)) + box(b"mdat", bytes(100))[:-1])


@pytest.mark.parametrize(
    ("major", "others", "name"),
    [
        (b"mif1", b"mif1heic", "HEIC"),
        (b"mif1", b"avif", "AVIF"),
        (b"msf1", b"hevc", "HEIC"),
        (b"mif1", b"xxxx", None),
        (b"isom", b"avif", None),
    ],
)
def test_brands_tell_what_a_general_file_holds(major: bytes, others: bytes, name: str | None) -> None:
    assert sniff(box(b"ftyp", major + bytes(4) + others)) == name
