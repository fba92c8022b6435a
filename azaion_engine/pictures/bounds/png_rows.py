"""PNG rows: whether a file's compressed data are undamaged and hold every row that its header announces."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from azaion_engine.pictures.bounds.png_chunks import damaged

_IHDR = struct.Struct(">II5B")
_IHDR_AT, _INTERLACED_AT = 16, 28
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples a pixel by colour type (PNG, third edition, section 11.2.1)."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row, step of columns and rows of each pass (section 8.1)."""
_PIECE = 1 << 20
"""Bytes inflated at a time."""


def check_rows(image: Image.Image, data: bytes) -> None:
    """Refuses a picture whose compressed data are damaged or end before its last row.

    Pillow checks no chunk of pixels, nor zlib's checksum where it has all rows before, and leaves missing rows black.
    Inflates once more, into nothing, and only an interlaced picture or one whose last row is black.

    Args:
        image: The loaded picture, in the file's own mode.
        data: The file, without chunks that its pixels do not need.

    Raises:
        UndecodablePictureError: Rows are missing, or the checksum of a chunk of pixels is wrong.
    """
    if not _has_right_checksums(data):
        raise damaged("a checksum of its compressed data is wrong")
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not data[_INTERLACED_AT] and last_row.getbbox(alpha_only=False) is not None:
        return
    expected = _row_bytes(data)
    found = _inflated_bytes(data, expected)
    if found < expected:
        raise damaged(f"its compressed data hold {found} bytes of the {expected} of its rows")


def _row_bytes(data: bytes) -> int:
    """Returns the size of all filtered rows, each with its filter's byte (section 7.3)."""
    width, height, bits, colour, _, _, interlaced = _IHDR.unpack_from(data, _IHDR_AT)
    pixel_bits = bits * _CHANNELS[colour]
    total = 0
    for left, top, columns, rows in _PASSES if interlaced else ((0, 0, 1, 1),):
        wide, high = -(-(width - left) // columns), -(-(height - top) // rows)
        if wide > 0 and high > 0:
            total += high * (1 + (wide * pixel_bits + 7) // 8)
    return total


def _has_right_checksums(data: bytes) -> bool:
    """Returns whether all IDAT chunks have the checksum that they announce (section 5.3)."""
    view = memoryview(data)
    for start, end in _pieces(data):
        if zlib.crc32(view[start - 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return False
    return True


def _inflated_bytes(data: bytes, most: int) -> int:
    """Counts what the IDAT chunks inflate to, up to `most` bytes."""
    inflater = zlib.decompressobj()
    total = 0
    for start, end in _pieces(data):
        piece = data[start:end]
        while piece and not inflater.eof and total < most:
            total += len(inflater.decompress(piece, _PIECE))
            piece = inflater.unconsumed_tail
    return total


def _pieces(data: bytes) -> Iterator[tuple[int, int]]:
    """Yields begin and end of the content of each IDAT chunk."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            yield at + 8, at + 8 + length
        at += 12 + length
