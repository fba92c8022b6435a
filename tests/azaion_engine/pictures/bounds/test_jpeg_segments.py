"""JPEG segments: which ones the decoder gets, and how many scans."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds import jpeg_segments
from azaion_engine.pictures.bounds.jpeg_segments import MOST_SCANS, find_scans, needed_segments
from azaion_engine.pictures.codec import decode
from tests.azaion_engine.pictures.picture_files import corners, encode, exif


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def test_metadata_are_left_out_and_the_first_exif_block_is_returned() -> None:
    jpeg = encode(corners(), "JPEG")
    extra = segment(0xE1, exif(6)) + segment(0xE1, exif(3)) + segment(0xED, b"x" * 60_000) + segment(0xFE, b"note")
    found = needed_segments(jpeg[:20] + extra + jpeg[20:])
    assert found.data == jpeg
    assert found.exif == exif(6)
    assert found.data[found.scan : found.scan + 2] == b"\xff\xda"
    assert needed_segments(jpeg).data is jpeg


def test_what_tells_the_colours_stays() -> None:
    jpeg = encode(corners(), "JPEG", subsampling=0)
    adobe = segment(0xEE, b"Adobe\0d\0\0\0\0\0")
    assert adobe in needed_segments(jpeg[:20] + adobe + jpeg[20:]).data


def test_the_jfif_segment_tells_the_colours_even_behind_another_of_its_marker() -> None:
    jpeg = encode(corners(), "JPEG", subsampling=0)
    jfif, rest = jpeg[2:20], jpeg[20:]
    rgb = segment(0xEE, b"Adobe\0d\0\0\0\0\0")  # JFIF has the last word: YCbCr
    for other in (b"JFXX\0\x13" + bytes(10), b"AVI1" + bytes(10), b"JFIF\0"):
        found = decode(jpeg[:2] + segment(0xE0, other) + jfif + rgb + rest)
        np.testing.assert_array_equal(found, decode(jpeg))


def test_segments_too_short_to_tell_the_colours_are_left_out() -> None:
    jpeg = encode(corners(), "JPEG")
    for short in (segment(0xEE, b"Adobe\0"), segment(0xE0, b"JFIF\0")):
        with_exif = jpeg[:2] + short + segment(0xE1, exif(1)) + jpeg[20:]
        np.testing.assert_array_equal(decode(with_exif), decode(jpeg))


@pytest.mark.parametrize("piece", [b"\xff", b"\0"], ids=["fill", "junk"])
def test_a_run_of_fill_bytes_or_junk_is_one_piece(piece: bytes) -> None:
    jpeg = encode(corners(), "JPEG")
    assert needed_segments(jpeg[:20] + piece * 1_000_000 + jpeg[20:]).data == jpeg


def test_a_jpeg_whose_height_comes_behind_its_scan_is_unsupported_and_not_called_damaged() -> None:
    jpeg = encode(corners(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    late = jpeg[:at] + b"\0\0" + jpeg[at + 2 : -2] + b"\xff\xdc\0\4" + jpeg[at : at + 2] + b"\xff\xd9"
    with pytest.raises(UnsupportedPictureError, match="without a height"):
        decode(late)


@given(st.binary(max_size=60))
def test_any_header_is_read_without_an_error(body: bytes) -> None:
    found = needed_segments(b"\xff\xd8" + body)
    assert found.scan <= len(found.data)


def test_scans_are_counted_up_to_the_end_marker_only() -> None:
    jpeg = encode(corners(), "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    start, scans = needed_segments(jpeg).scan, jpeg.count(b"\xff\xda")
    whole = jpeg[:-2] + last * (MOST_SCANS - scans)
    assert len(find_scans(whole + b"\xff\xd9" + last * 1000, start)) == MOST_SCANS
    with pytest.raises(UndecodablePictureError, match="more than the 32 scans"):
        find_scans(whole + last + b"\xff\xd9", start)


def test_segments_without_end_between_the_scans_are_refused() -> None:
    jpeg = encode(corners(), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    with pytest.raises(UndecodablePictureError, match="pieces"):
        find_scans(jpeg[:last] + b"\xff\xfe\0\2" * 10_000 + jpeg[last:], needed_segments(jpeg).scan)


@given(st.binary(max_size=40).map(lambda noise: noise.replace(b"\x80", b"\xff")), st.integers(0, 40))
def test_the_first_marker_is_found_across_steps_and_nothing_that_only_looks_like_one(data: bytes, start: int) -> None:
    pairs = ((data[at], data[at + 1]) for at in range(start, len(data) - 1))
    markers = (second for first, second in pairs if first == 0xFF and second not in {0, *range(0xD0, 0xD8), 0xFF})
    with mock.patch.object(jpeg_segments, "_STEP", 7):
        found = jpeg_segments.next_marker(data, start)
    assert (found and found[1]) == next(markers, None)
