"""PNGs whose compressed data end before their last row: refused, never answered with rows of black."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.encoded import EncodedPicture
from tests.azaion_engine.pictures.picture_files import encode

_CHANNELS = {"1": (1, 0), "L": (8, 0), "P": (8, 3), "I;16": (16, 0), "LA": (8, 4), "RGB": (8, 2), "RGBA": (8, 6)}


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(rows: bytes, width: int, height: int, bits: int, colour: int, interlaced: int = 0, *, pieces: int = 1) -> bytes:
    """Returns a PNG with these filtered rows, compressed and cut into several IDAT chunks."""
    packed = zlib.compress(rows)
    step = max(1, -(-len(packed) // pieces))
    header = struct.pack(">II5B", width, height, bits, colour, 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    data = b"".join(chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + data + chunk(b"IEND", b"")


def is_refused(data: bytes) -> bool:
    try:
        EncodedPicture(data).decode()
    except UndecodablePictureError:
        return True
    return False


@pytest.mark.parametrize("mode", _CHANNELS)
@pytest.mark.parametrize("pieces", [1, 5])
def test_a_picture_without_its_last_row_is_refused(mode: str, pieces: int) -> None:
    bits, colour = _CHANNELS[mode]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" + b"\x81" * ((37 * bits * channels + 7) // 8)
    whole = png(row * 21, 37, 21, bits, colour, pieces=pieces)
    assert EncodedPicture(whole).decode().shape == (21, 37, 3)
    for rows in (row * 20, row * 20 + row[:-1], row * 3, b""):
        with pytest.raises(UndecodablePictureError, match="damaged or truncated"):
            EncodedPicture(png(rows, 37, 21, bits, colour, pieces=pieces)).decode()


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "LA", "RGB", "RGBA"])
def test_a_black_picture_is_whole(mode: str) -> None:
    picture = EncodedPicture(encode(Image.new(mode, (33, 17)), "PNG")).decode()
    assert picture.shape == (17, 33, 3)
    assert not picture.any()


@given(width=st.integers(1, 20), height=st.integers(1, 20), missing=st.integers(1, 30))
def test_an_interlaced_picture_is_whole_or_refused(width: int, height: int, missing: int) -> None:
    rows = interlaced_rows(width, height)
    data = png(rows, width, height, 8, 0, 1)
    assert EncodedPicture(data).decode().shape == (height, width, 3)
    assert is_refused(png(rows[:-missing], width, height, 8, 0, 1))


def interlaced_rows(width: int, height: int) -> bytes:
    """Filters each row of each of Adam7's passes over a bright picture by nothing."""
    picture = np.full((height, width), 200, np.uint8)
    passes = [(0, 0, 8), (4, 0, 8), (0, 4, 4), (2, 0, 4), (0, 2, 2), (1, 0, 2), (0, 1, 1)]
    row_steps = [8, 8, 8, 4, 4, 2, 2]
    parts = [picture[top::down, left::step] for (left, top, step), down in zip(passes, row_steps, strict=True)]
    return b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)


def test_the_bottom_of_a_large_dark_picture_costs_no_memory() -> None:
    dark = np.zeros((4000, 4000, 3), np.uint8)
    dark[:2000] = 90
    encoded = cv2.imencode(".png", dark)[1].tobytes()
    np.testing.assert_array_equal(EncodedPicture(encoded).decode(), dark)


@pytest.mark.parametrize("share", [0.2, 0.7, 0.9, 0.99])
def test_flipped_bits_are_refused_even_where_pillow_checks_nothing(share: float) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    whole = encode(Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 2)), "PNG")
    start, end = whole.index(b"IDAT") + 4, len(whole) - 20
    for at in range(int((end - start) * share), int((end - start) * share) + 20):
        damaged = bytearray(whole)
        damaged[start + at] ^= 16
        assert is_refused(bytes(damaged)), at
