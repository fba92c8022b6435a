"""JpegHeader: of sequential JPEGs, compared with Pillow's."""

from __future__ import annotations

import io
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from azaion_engine.errors import PictureTooLargeError, UndecodablePictureError
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureHeader, PictureLimits
from azaion_engine.pictures.readers.jpeg.header import read_jpeg_header


def jpeg(mode: str = "RGB", width: int = 33, height: int = 17, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def read_hardware_jpeg(data: bytes, limits: PictureLimits = PictureLimits()) -> PictureHeader | None:  # noqa: B008
    return EncodedPicture(data, limits).read_hardware_header()


PLAIN = {
    "4:2:0": jpeg(subsampling=2),
    "4:2:2": jpeg(subsampling=1),
    "4:4:4": jpeg(subsampling=0, quality=95),
    "grey": jpeg("L"),
    "comment": jpeg(comment="by hand"),
    "restarts": jpeg(restart_marker_blocks=1),
    "one pixel": jpeg(width=1, height=1),
}
OTHER = {
    "progressive": jpeg(progressive=True),
    "CMYK": jpeg("CMYK"),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "nothing": b"",
}
MARKED = {
    "EXIF": jpeg(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "ICC": jpeg(icc_profile=bytes(128)),
}


@pytest.mark.parametrize("name", [*PLAIN, *MARKED])
def test_it_says_what_pillow_says(name: str) -> None:
    data = (PLAIN | MARKED)[name]
    plain, pillow = read_jpeg_header(data), JpegImageFile(io.BytesIO(data))
    assert plain is not None
    assert plain.plain == (name in PLAIN)
    assert (plain.width, plain.height, plain.mode) == (*pillow.size, pillow.mode)
    assert plain.components == tuple(component[:3] for component in pillow.layer)
    assert pillow.fp is not None
    assert plain.scan == pillow.fp.tell()


@pytest.mark.parametrize("name", OTHER)
def test_everything_else_is_left_to_pillow(name: str) -> None:
    assert read_jpeg_header(OTHER[name]) is None


def with_a_scan_for_each_component(data: bytes) -> bytes:
    """Makes a JPEG with the headers of three scans, one per component; the scans' content is not valid."""
    plain = read_jpeg_header(data)
    assert plain is not None
    headers = [b"\xff\xda\0\x08\x01" + bytes((number, 0, 0, 63, 0)) for number in (1, 2, 3)]
    before, inside = data[: data.index(b"\xff\xda")], data[plain.scan : -2]
    return before + b"".join(header + inside for header in headers) + data[-2:]


def test_hardware_takes_a_scan_of_all_components_that_runs_to_the_end() -> None:
    data = PLAIN["4:2:0"]
    several = with_a_scan_for_each_component(data)
    for whole, all_at_once in ((data, True), (several, False), (PLAIN["grey"], True)):
        plain = read_jpeg_header(whole)
        assert plain is not None
        assert plain.scans_all == all_at_once
        assert (read_hardware_jpeg(whole) is not None) == all_at_once
    assert read_hardware_jpeg(data + bytes(7)) is not None  # some cameras pad their files
    for cut in (data[:-1], data[:-2], data[:-20], data[:-20] + bytes(20)):
        assert read_hardware_jpeg(cut) is None


@pytest.mark.parametrize("read", [decode, read_hardware_jpeg])
def test_a_scan_without_a_header_at_the_end_of_the_file_is_damage(read: Any) -> None:
    frame = PLAIN["4:2:0"][: PLAIN["4:2:0"].index(b"\xff\xda")]
    with pytest.raises(UndecodablePictureError) if read is decode else nullcontext():
        assert read(frame + b"\xff\xda\0\x02") is None


@pytest.mark.parametrize("name", PLAIN)
def test_the_pixels_are_pillows(name: str) -> None:
    expected = np.asarray(Image.open(io.BytesIO(PLAIN[name])).convert("RGB"))
    assert np.array_equal(decode(PLAIN[name]), expected)


@pytest.mark.parametrize("read", [decode, read_hardware_jpeg])
@pytest.mark.parametrize("limits", [PictureLimits(max_bytes=100), PictureLimits(max_pixels=33 * 17 - 1)])
def test_limits_hold(read: Any, limits: PictureLimits) -> None:
    with pytest.raises(PictureTooLargeError, match="at most"):
        read(PLAIN["4:2:0"], limits)


@given(at=st.integers(2, 620), value=st.integers(0, 255), cut=st.integers(0, 700))
@settings(max_examples=300, deadline=None)
def test_a_damaged_header_is_read_as_pillow_reads_it_or_left_to_it(at: int, value: int, cut: int) -> None:
    data = bytearray(PLAIN["4:2:0"])
    data[at] = value
    damaged = bytes(data[: len(data) - cut])
    plain = read_jpeg_header(damaged)
    if plain is not None:
        try:
            pillow = JpegImageFile(io.BytesIO(damaged))
        except (OSError, SyntaxError, IndexError, ValueError):
            return  # Pillow refuses a bad table while it reads the header; here, the decoder does
        assert (plain.width, plain.height, plain.mode) == (*pillow.size, pillow.mode)


@pytest.mark.parametrize("name", [*PLAIN, *MARKED])
def test_a_header_that_is_cut_off_is_none(name: str) -> None:
    for end in (0, 1, 3, 5, 21):
        assert read_jpeg_header((PLAIN | MARKED)[name][:end]) is None


def test_a_header_that_is_remembered_is_that_of_its_own_bytes() -> None:
    data = jpeg()
    first = read_jpeg_header(data)
    assert first is not None
    size = data.index(b"\xff\xc0") + 5
    changed = bytearray(data)
    changed[size : size + 4] = bytes((0, 40, 0, 50))
    other = read_jpeg_header(bytes(changed))
    assert other is not None
    assert (other.width, other.height) == (50, 40)
    assert read_jpeg_header(data) == first
    assert read_jpeg_header(data[: first.scan - 1]) is None, "the scan's header is cut off"


@pytest.mark.parametrize("before", [5, 1000, 3000])
def test_the_bytes_of_a_scan_marker_in_a_comment_mislead_nobody(before: int) -> None:
    data = jpeg()
    text = b"x" * before + b"\xff\xda\x00\x08" + bytes(9)
    with_comment = data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:]
    plain, found = read_jpeg_header(data), read_jpeg_header(with_comment)
    assert plain is not None
    assert found == plain._replace(scan=plain.scan + len(text) + 4)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_without_a_quantisation_table_hardware_does_not_get_it_and_the_cpu_refuses_it(
    number: int, marked: bool
) -> None:
    data = MARKED["EXIF"] if marked else PLAIN["4:2:0"]
    assert read_hardware_jpeg(data) is not None
    place = -1
    for _ in range(number):  # Pillow writes luma's table, then chroma's
        place = data.index(b"\xff\xdb", place + 1)
    for broken in (
        data[: place + 4] + b"\x03" + data[place + 5 :],  # another number
        data[: place + 4] + b"\x11" + data[place + 5 :],  # of 16 bits, hence too short
        data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :],
    ):
        assert read_hardware_jpeg(broken) is None
        with pytest.raises(UndecodablePictureError):
            decode(broken)


def test_quantisation_tables_are_found_in_one_segment_and_unusual_ones_are_left_to_the_cpu() -> None:
    data = PLAIN["4:4:4"]
    first = data.index(b"\xff\xdb")
    second = data.index(b"\xff\xdb", first + 1)
    luma, chroma = data[first + 5 : first + 69], data[second + 5 : second + 69]
    wide = bytes(b for value in chroma for b in (0, value))

    def joined(body: bytes) -> bytes:
        together = b"\xff\xdb" + (2 + len(body)).to_bytes(2, "big") + body
        return data[:first] + together + data[second + 69 :]

    usual = b"\x00" + luma + b"\x01" + chroma
    assert read_hardware_jpeg(joined(usual)) is not None
    for body in (usual, b"\x00" + luma + b"\x11" + wide, b"\x01" + luma + usual):  # of 16 bits; defined twice
        np.testing.assert_array_equal(decode(joined(body)), decode(data))
        assert body == usual or read_hardware_jpeg(joined(body)) is None


@pytest.mark.parametrize("body", [b"\x02" + bytes(range(1, 60)), b"\x04" + b"\1" * 64])
def test_with_a_quantisation_table_that_libjpeg_refuses_hardware_does_not_get_it(body: bytes) -> None:
    data = PLAIN["4:4:4"]
    first = data.index(b"\xff\xdb")
    broken = data[:first] + b"\xff\xdb" + (2 + len(body)).to_bytes(2, "big") + body + data[first:]
    assert read_hardware_jpeg(broken) is None
    with pytest.raises(UndecodablePictureError):
        decode(broken)
