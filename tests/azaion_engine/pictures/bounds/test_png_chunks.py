"""PNG chunks: which ones the decoder gets."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.bounds.png_chunks import MOST_CHUNKS, needed_chunks
from azaion_engine.pictures.codec import decode
from tests.azaion_engine.pictures.picture_files import corners, encode, exif, png_chunk


def test_ancillary_chunks_are_left_out_wherever_they_stand() -> None:
    png = encode(corners(), "PNG")
    many = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2**20))) * 50 + png_chunk(b"tEXt", b"a\0b")
    for at in (33, len(png) - 12):
        assert needed_chunks(png[:at] + many + png[at:]).data == png
    assert needed_chunks(png).data is png
    assert needed_chunks(png + b"behind the end").data == png


def test_exif_is_found_in_its_chunk_and_in_imagemagicks_text() -> None:
    png, block = encode(corners(), "PNG"), exif(6)
    assert needed_chunks(png[:-12] + png_chunk(b"eXIf", block[6:]) + png[-12:]).exif == block[6:]
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n      {len(block)}\n{block.hex()}\n", zip=True)
    assert needed_chunks(encode(corners(), "PNG", pnginfo=text)).exif == block
    assert decode(encode(corners(), "PNG", pnginfo=text)).shape == (48, 32, 3)


def test_palettes_transparency_and_animation_do_not_change_the_pixels() -> None:
    flat = Image.fromarray(corners()).convert("P")
    for transparency in (0, bytes(range(256))):
        png = encode(flat, "PNG", transparency=transparency)
        assert np.array_equal(decode(png), np.array(flat.convert("RGB")))
    moving = encode(Image.fromarray(corners()), "PNG", save_all=True, append_images=[Image.new("RGB", (48, 32))])
    assert np.array_equal(decode(moving), corners())


def test_a_chunk_more_than_accepted_is_refused() -> None:
    png, chunk = encode(corners(), "PNG"), png_chunk(b"prVt", b"")
    fits = MOST_CHUNKS - 3  # header, pixels and end
    assert needed_chunks(png[:33] + chunk * fits + png[33:]).data == png
    with pytest.raises(UndecodablePictureError, match="65536 pieces"):
        needed_chunks(png[:33] + chunk * (fits + 1) + png[33:])


@pytest.mark.parametrize("case", ["none", "empty", "cut", "late", "twice"])
def test_a_palette_that_is_not_right_is_not_filled_in(case: str) -> None:
    png = encode(Image.fromarray(corners()).convert("P"), "PNG")
    start, end = png.index(b"PLTE") - 4, png.index(b"IDAT") - 4
    palette, pixels = png[start:end], png[end:-12]
    broken = {
        "none": pixels,
        "empty": png_chunk(b"PLTE", b"") + pixels,
        "cut": png_chunk(b"PLTE", bytes(31)) + pixels,
        "late": pixels + palette,
        "twice": palette + palette + pixels,
    }[case]
    with pytest.raises(UndecodablePictureError, match=r"palette|PLTE"):
        decode(png[:start] + broken + png[-12:])


def test_two_headers_are_refused() -> None:
    png = encode(corners(), "PNG")
    with pytest.raises(UndecodablePictureError, match="IHDR"):
        decode(png[:33] + png[8:])


@given(st.binary(max_size=60))
def test_any_chunks_are_read_without_an_error(body: bytes) -> None:
    needed_chunks(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("length", range(8, 46))
def test_pixels_before_any_header_are_refused_however_short_the_file_is(length: int) -> None:
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IDAT", bytes(30))
    with pytest.raises(UndecodablePictureError):
        decode(data[:length])


def test_a_chunk_that_ends_beyond_the_file_is_left_to_the_decoder() -> None:
    png = encode(corners(), "PNG")
    cut = png[:33] + struct.pack(">I4s", 2**31, b"IDAT")
    assert needed_chunks(cut).data == cut
