"""TIFF directory: which tags the decoder gets, and what it must not be made to do."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from azaion_engine.errors import PictureError, PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds.tiff_directory import MOST_ENTRIES, needed_tags
from azaion_engine.pictures.codec import decode
from tests.azaion_engine.pictures.picture_files import corners, encode, noise

PIXELS = 10**8


def tiff(tags: dict[int, tuple[int, int, int]], behind: bytes = b"") -> bytes:
    """Writes a directory of (type, count, value or offset) by tag, and what follows it."""
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + behind


def plain(**more: tuple[int, int, int]) -> dict[int, tuple[int, int, int]]:
    base = {256: (4, 1, 4), 257: (4, 1, 4), 258: (4, 1, 8), 262: (4, 1, 1), 273: (4, 1, 0), 277: (4, 1, 1)}
    return {**base, 278: (4, 1, 4), 279: (4, 1, 16), **{int(tag[1:]): value for tag, value in more.items()}}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg", "tiff_adobe_deflate"])
def test_other_tags_are_left_out_and_the_pixels_stay(compression: str, big: bool) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270], tags[305] = "description " * 50, "software"
    tags[700] = b"x" * 5000
    tags.tagtype[700] = 1
    data = encode(noise(), "TIFF", compression=compression, tiffinfo=tags, big_tiff=big)
    lean = needed_tags(data, PIXELS).data
    assert not {270, 305, 700} & set(Image.open(io.BytesIO(lean)).tag_v2)
    assert np.array_equal(decode(lean), np.array(Image.open(io.BytesIO(data)).convert("RGB")))


def test_only_the_first_directory_is_read() -> None:
    data = encode(Image.fromarray(corners()), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert Image.open(io.BytesIO(needed_tags(data, PIXELS).data)).n_frames == 1


@pytest.mark.parametrize(
    ("tags", "error", "words"),
    [
        (plain(_273=(4, 10**6, 8)), UndecodablePictureError, "tag 273 has 1000000 values"),
        (plain(_279=(4, 1, 10**6)), UndecodablePictureError, "overlap"),
        (plain(_259=(4, 1, 34925)), UnsupportedPictureError, "compression 34925"),
        (plain(_322=(4, 1, 60000), _323=(4, 1, 60000)), PictureTooLargeError, "3600000000 pixels"),
    ],
    ids=["strips", "bytes", "compression", "tiles"],
)
def test_what_would_cost_too_much_is_refused(
    tags: dict[int, tuple[int, int, int]], error: type[PictureError], words: str
) -> None:
    with pytest.raises(error, match=words):
        needed_tags(tiff(tags, bytes(64)), PIXELS)


def test_a_directory_of_too_many_tags_or_without_its_end_is_refused() -> None:
    many = tiff(dict.fromkeys(range(1000, 1001 + MOST_ENTRIES), (4, 1, 0)))
    with pytest.raises(UndecodablePictureError, match="4097 tags"):
        needed_tags(many, PIXELS)
    with pytest.raises(UndecodablePictureError, match="cut off"):
        needed_tags(tiff(plain())[:60], PIXELS)


def test_a_progressive_jpeg_inside_is_refused() -> None:
    progressive = encode(corners(), "JPEG", progressive=True)
    tags = plain(_259=(4, 1, 7), _279=(4, 1, len(progressive)))
    with pytest.raises(UnsupportedPictureError, match="progressive"):
        needed_tags(tiff(tags, progressive), PIXELS)


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_any_directory_is_read_or_refused_by_name(body: bytes, start: bytes) -> None:
    with contextlib.suppress(PictureError):
        needed_tags(start + body, PIXELS)
