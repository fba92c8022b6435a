"""TIFFs whose strips and tiles hold fewer rows than announced: refused where libtiff only warns."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_pieces import _frame_size
from azaion_engine.pictures.encoded import EncodedPicture
from tests.azaion_engine.pictures.readers.tiff_files import tiff

PICTURE = np.random.default_rng(5).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def jpeg_in_tiff(rows: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "TIFF", compression="jpeg", tiffinfo={tags.ROWS: rows})
    return buffer.getvalue()


def entries(data: bytes) -> dict[int, int]:
    """Returns the offset of each tag's value in the directory of a little-endian TIFF."""
    [at] = struct.unpack_from("<I", data, 4)
    [count] = struct.unpack_from("<H", data, at)
    return {struct.unpack_from("<H", data, at + 2 + 12 * i)[0]: at + 10 + 12 * i for i in range(count)}


def with_value(data: bytes, tag: int, value: int) -> bytes:
    edited = bytearray(data)
    struct.pack_into(
        "<H" if tag in (tags.HEIGHT, tags.ROWS) and value < 65536 else "<I", edited, entries(data)[tag], value
    )
    return bytes(edited)


@pytest.mark.parametrize("rows", [8, 16, 40, 104])
def test_jpegs_in_a_tiff_are_read(rows: int) -> None:
    with Image.open(io.BytesIO(jpeg_in_tiff(rows))) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(EncodedPicture(jpeg_in_tiff(rows)).decode(), expected)


def test_a_jpeg_with_fewer_rows_than_its_strip_is_refused() -> None:
    higher = with_value(with_value(jpeg_in_tiff(40), tags.HEIGHT, 80), tags.ROWS, 80)
    with pytest.raises(UndecodablePictureError, match="30x40 pixels, expected 30x80"):
        EncodedPicture(higher).decode()


def test_a_jpeg_without_its_end_is_refused() -> None:
    data = bytearray(jpeg_in_tiff(40))
    [start], [length] = (
        struct.unpack_from("<I", data, entries(data)[tag]) for tag in (tags.STRIP_OFFSETS, tags.STRIP_BYTES)
    )
    data[start + length - 300 : start + length] = b"\x55" * 300
    with pytest.raises(UndecodablePictureError, match="has no end"):
        EncodedPicture(bytes(data)).decode()


def test_only_so_many_fill_bytes_are_looked_at() -> None:
    frame = b"\xff\xc0\0\x11\x08\0\x28\0\x1e\3"
    assert _frame_size(memoryview(b"\xff\xd8" + b"\xff" * 20 + frame)) == (40, 30)
    assert _frame_size(memoryview(b"\xff\xd8" + b"\xff" * 10**6 + frame)) is None


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_an_uncompressed_piece_that_reaches_into_the_next_is_refused(tile: int, kind: str) -> None:
    whole = tiff(PICTURE.astype(kind), tile=tile, rows=10)
    assert EncodedPicture(whole).decode().shape == PICTURE.shape
    number = len(whole)
    edited = bytearray(whole)
    lengths, offsets = (tags.TILE_BYTES, tags.TILE_OFFSETS) if tile else (tags.STRIP_BYTES, tags.STRIP_OFFSETS)
    where = entries(whole)
    for tag, change in ((lengths, -64), (offsets, 64)):
        [at] = struct.unpack_from("<I", edited, where[tag])
        for position in (at, at + 4) if tag == lengths else (at,):
            [value] = struct.unpack_from("<I", edited, position)
            struct.pack_into("<I", edited, position, value + change)
    assert len(edited) == number
    with pytest.raises(UndecodablePictureError, match="a strip or tile has"):
        EncodedPicture(bytes(edited)).decode()


@pytest.mark.parametrize("deep", [False, True])
def test_fewer_strips_than_the_height_needs_are_refused(deep: bool) -> None:
    whole = tiff(PICTURE.astype(np.uint16) * 257 if deep else PICTURE, rows=40)
    np.testing.assert_array_equal(EncodedPicture(whole).decode(), PICTURE)
    with pytest.raises(UndecodablePictureError, match=r"missing|1 of its 2 strips or tiles"):
        EncodedPicture(with_value(whole, tags.HEIGHT, 80)).decode()


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_a_piece_that_was_never_written_is_told(deflate: bool, tile: int, kind: str) -> None:
    edited = bytearray(tiff(PICTURE.astype(kind), tile=tile, rows=10, deflate=deflate))
    [at] = struct.unpack_from("<I", edited, entries(bytes(edited))[tags.TILE_OFFSETS if tile else tags.STRIP_OFFSETS])
    edited[at + 4 : at + 8] = bytes(4)
    with pytest.raises(UnsupportedPictureError, match=r"sparse TIFF: 1 of its \d strips or tiles"):
        EncodedPicture(bytes(edited)).decode()


@pytest.mark.parametrize("cut", [1, 40])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_pieces_that_reach_beyond_the_end_are_refused_even_if_a_directory_follows(
    kind: str, tile: int, separate: bool, cut: int
) -> None:
    whole = tiff(PICTURE.astype(kind), tile=tile, rows=10, separate=separate)
    moved = move_directory_to_the_start(whole)
    np.testing.assert_array_equal(EncodedPicture(moved).decode(), EncodedPicture(whole).decode())
    with pytest.raises(UndecodablePictureError, match="cut off"):
        EncodedPicture(moved[:-cut]).decode()


def move_directory_to_the_start(data: bytes) -> bytes:
    """Rewrites a little-endian TIFF so that its pixels are what it ends with."""
    [at] = struct.unpack_from("<I", data, 4)
    directory, pixels = bytearray(data[at:]), data[8:at]
    [count] = struct.unpack_from("<H", directory)
    for entry in range(2, 2 + 12 * count, 12):
        tag, _, number, place = struct.unpack_from("<HHII", directory, entry)
        where = [entry + 8]
        if number > 1:
            struct.pack_into("<I", directory, entry + 8, place - at + 8)
            where = [place - at + 4 * i for i in range(number)]
        if tag in (tags.STRIP_OFFSETS, tags.TILE_OFFSETS):
            for position in where:
                [offset] = struct.unpack_from("<I", directory, position)
                struct.pack_into("<I", directory, position, offset + len(directory))
    return data[:4] + struct.pack("<I", 8) + bytes(directory) + pixels
