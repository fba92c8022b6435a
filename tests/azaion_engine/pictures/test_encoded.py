"""EncodedPicture: decoded pixels against independent expectations, and JPEGs that hardware can decode."""

from __future__ import annotations

import io
import threading
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from azaion_engine.errors import OutOfMemoryError, PictureError, PictureTooLargeError, UndecodablePictureError
from azaion_engine.pictures import encoded
from azaion_engine.pictures.codec import decode, read_header
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from tests.azaion_engine.pictures.picture_files import (
    BLUE,
    FORMATS,
    LOSSLESS,
    RAMP,
    RED,
    close,
    corners,
    encode,
    exif,
    noise,
    raw_png,
    raw_tiff,
    stored,
)

# Pillow warns about the metadata of many damaged files.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_a_progressive_jpeg_and_a_grey_one_are_turned_like_any_other() -> None:
    assert decode(encode(stored(8), "JPEG", progressive=True, exif=exif(8))).shape == (32, 48, 3)
    assert decode(encode(Image.fromarray(stored(8)).convert("L"), "JPEG", exif=exif(8))).shape == (32, 48, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_icc_profiles_good_or_broken_do_no_harm(format: str) -> None:
    good = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (good, b"not a profile", good[:100]):
        data = encode(corners(), format, icc_profile=profile, **LOSSLESS.get(format, {}))
        assert close(decode(data)[8, 12], RED)


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
    assert np.array_equal(decode(data + b"\xff\xda" * 200), decode(data))  # random bytes have 15 per megabyte


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
    for position, value in edits + early:  # most bytes of headers are near the start
        data[position % len(data)] = value
    try:
        # A small pixel limit: an edit may make the picture valid and enormous, and decoding slow.
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


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_costs_minutes():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (10, 200, 30)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last_scan = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(UndecodablePictureError, match="scans"):
        decode(data[:-2] + last_scan * 500 + data[-2:])


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


@pytest.mark.parametrize("format", FORMATS)
def test_running_out_of_memory_is_an_error_of_its_own_and_never_damage(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(noise(400, 300), format)

    def fail(*_: object) -> None:
        raise MemoryError

    def fail_in_opencv(*_: object) -> None:
        error = cv2.error("Insufficient memory")
        error.code = cv2.Error.STS_NO_MEM
        raise error

    monkeypatch.setattr(cv2, "imdecode", fail_in_opencv)
    monkeypatch.setattr(encoded, "to_rgb", fail)
    with pytest.raises(OutOfMemoryError, match="try again later"):
        decode(data)
