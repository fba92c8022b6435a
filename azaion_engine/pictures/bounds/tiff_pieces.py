"""TIFF pieces: whether strips and tiles hold the rows that the directory announces, as far as libtiff does not say.

libtiff fills in what is missing of a JPEG, and reads beyond a short uncompressed tile, with a warning at most.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout

_NEW_JPEG, _UNCOMPRESSED = 7, 1
_SEPARATE = 2
"""Planes in pieces of their own."""
_END = b"\xff\xd9"
_PADDING = 256
"""Bytes in which a JPEG's end marker is looked for: writers pad pieces to even or aligned sizes."""
_FRAMES = frozenset((0xC0, 0xC1))
"""Start-of-frame markers of sequential JPEGs (ITU-T T.81, table B.1); progressive ones are refused before."""
_SIZE = struct.Struct(">HH")
_MOST_SEGMENTS = 32
"""Segments and fill bytes before a piece's frame that are looked at; encoders write a dozen at most."""


def check_filled(data: bytes, layout: TiffLayout) -> None:
    """Refuses JPEG pieces that are cut or smaller than their place, and uncompressed ones that reach into the next.

    Raises:
        UndecodablePictureError: As said.
    """
    compression = layout.one(tags.COMPRESSION, _UNCOMPRESSED)
    if compression == _NEW_JPEG:
        for offset, length, rows, columns in _pieces(layout):
            _check_jpeg(memoryview(data)[offset : offset + length], rows, columns)
    elif compression == _UNCOMPRESSED:
        _check_uncompressed(layout)


def check_number(layout: TiffLayout) -> None:
    """Refuses fewer pieces than the picture needs (TIFF 6.0, sections 3 and 15): Pillow leaves their place black.

    Raises:
        UndecodablePictureError: As said.
    """
    values, one = layout.values, layout.one
    planes = layout.samples if one(tags.PLANES, 1) == _SEPARATE else 1
    if tags.TILE_OFFSETS in values:
        across, down = one(tags.TILE_WIDTH, 0), one(tags.TILE_HEIGHT, 0)
        needed = -(-layout.width // across) * -(-layout.height // down) if across and down else 0
        found = len(values[tags.TILE_OFFSETS])
    else:
        rows = one(tags.ROWS, layout.height)
        needed = -(-layout.height // rows) if rows else 1
        found = len(values.get(tags.STRIP_OFFSETS, ()))
    if 0 < found < needed * planes:
        raise tags.damaged(f"it has {found} of its {needed * planes} strips or tiles")


def _pieces(layout: TiffLayout) -> Iterator[tuple[int, int, int, int]]:
    """Yields offset, length, rows and columns of each piece; a length of 0 is a piece that was never written."""
    values = layout.values
    tiled = tags.TILE_WIDTH in values
    offsets = values.get(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS, ())
    lengths = values.get(tags.TILE_BYTES if tiled else tags.STRIP_BYTES, ())
    rows = layout.one(tags.TILE_HEIGHT, 0) if tiled else min(layout.one(tags.ROWS, layout.height), layout.height)
    columns = layout.one(tags.TILE_WIDTH, 0) if tiled else layout.width
    down = -(-layout.height // rows) if rows else 1
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
        last = not tiled and number % down == down - 1
        yield offset, length, layout.height - (down - 1) * rows if last else rows, columns


def _check_jpeg(piece: memoryview, rows: int, columns: int) -> None:
    if not piece:
        return
    if bytes(piece[-_PADDING:]).rfind(_END) < 0:
        raise tags.damaged("a JPEG in it has no end")
    size = _frame_size(piece)
    if size is not None and (size[0] < rows or size[1] < columns):
        raise tags.damaged(f"a JPEG in it has {size[1]}x{size[0]} pixels, expected {columns}x{rows}")


def _frame_size(piece: memoryview) -> tuple[int, int] | None:
    """Returns the rows and columns of a JPEG; None if no frame header is found, about which libjpeg decides."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 9 > len(piece) or piece[at] != 0xFF:
            break
        marker = piece[at + 1]
        if marker in _FRAMES:
            rows, columns = _SIZE.unpack_from(piece, at + 5)
            return rows, columns
        at += 1 if marker == 0xFF else 2 + int.from_bytes(piece[at + 2 : at + 4], "big")
    return None


def _check_uncompressed(layout: TiffLayout) -> None:
    bits = max(layout.bits)
    samples = 1 if layout.one(tags.PLANES, 1) == 2 else layout.samples
    pieces = sorted(_pieces(layout))
    if layout.photometric == tags.YCBCR:  # its colours may be stored for fewer pixels
        return
    for (offset, length, rows, columns), (following, *_) in itertools.pairwise(pieces):
        needed = rows * ((columns * samples * bits + 7) // 8)
        if 0 < length < needed and offset < following < offset + needed:
            raise tags.damaged(f"a strip or tile has {length} bytes, expected {needed}")
