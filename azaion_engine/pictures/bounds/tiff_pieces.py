"""TIFF pieces: where strips and tiles lie, and whether they hold the rows that the directory announces.

libtiff fills in what is missing of a JPEG, and reads beyond a short uncompressed tile, with a warning at most; Pillow
takes the file's beginning for a strip or tile that was never written.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

from azaion_engine.errors import UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout

_UNCOMPRESSED = 1
_END = b"\xff\xd9"
_PADDING = 256
"""Bytes in which a JPEG's end marker is looked for: writers pad pieces to even or aligned sizes."""
_FRAMES = frozenset((0xC0, 0xC1))
"""Start-of-frame markers of sequential JPEGs (ITU-T T.81, table B.1); progressive ones are refused before."""
_SIZE = struct.Struct(">HH")
_MOST_SEGMENTS = 32
"""Segments and fill bytes before a piece's frame that are looked at; encoders write a dozen at most."""


class Piece(NamedTuple):
    """A strip or tile.

    Attributes:
        offset: Of its bytes, in the file; 0 if it was never written.
        length: Its bytes.
        plane: Number of the plane that it is of; 0 where all samples of a pixel are stored together.
        top: First row of the picture in it.
        left: First column.
        rows: Rows that it holds; of a tile, beyond the picture too.
        columns: Columns, likewise.
    """

    offset: int
    length: int
    plane: int
    top: int
    left: int
    rows: int
    columns: int

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the picture in it."""
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)


def check_filled(data: bytes, layout: TiffLayout) -> None:
    """Refuses pieces that were never written, reach beyond the end or into the next, or are cut or too small JPEGs.

    Raises:
        UnsupportedPictureError: The file is sparse.
        UndecodablePictureError: The others.
    """
    compression = layout.one(tags.COMPRESSION, _UNCOMPRESSED)
    if compression == tags.OLD_JPEG:  # its strips are not where its data are
        return
    found = list(pieces(layout))
    absent = sum(not piece.offset for piece in found)
    if absent:
        raise UnsupportedPictureError(
            f"given a sparse TIFF: {absent} of its {len(found)} strips or tiles were never written; write it whole, "
            "e.g. with gdal_translate"
        )
    if compression == _UNCOMPRESSED:
        _check_uncompressed(found, len(data), layout)
    elif any(piece.offset + piece.length > len(data) for piece in found):
        raise tags.damaged("its strips or tiles are cut off")
    if compression == tags.JPEG:
        for piece in found:
            _check_jpeg(memoryview(data)[piece.offset : piece.offset + piece.length], piece.rows, piece.columns)


def check_number(layout: TiffLayout) -> None:
    """Refuses fewer pieces than the picture needs (TIFF 6.0, sections 3 and 15): Pillow leaves their place black.

    Raises:
        UndecodablePictureError: As said.
    """
    values, one = layout.values, layout.one
    if tags.TILE_OFFSETS in values:
        across, down = one(tags.TILE_WIDTH, 0), one(tags.TILE_HEIGHT, 0)
        needed = -(-layout.width // across) * -(-layout.height // down) if across and down else 0
        found = len(values[tags.TILE_OFFSETS])
    else:
        rows = one(tags.ROWS, layout.height)
        needed = -(-layout.height // rows) if rows else 1
        found = len(values.get(tags.STRIP_OFFSETS, ()))
    if 0 < found < needed * layout.planes:
        raise tags.damaged(f"it has {found} of its {needed * layout.planes} strips or tiles")


def pieces(layout: TiffLayout) -> Iterator[Piece]:
    """Yields the strips or tiles that a picture needs, in the directory's order; an unknown number of bytes is 0."""
    values = layout.values
    tiled = tags.TILE_WIDTH in values
    offsets = values.get(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS, ())
    lengths = values.get(tags.TILE_BYTES if tiled else tags.STRIP_BYTES) or (0,) * len(offsets)
    strip = min(layout.one(tags.ROWS, 0) or layout.height, layout.height)
    rows = layout.one(tags.TILE_HEIGHT, 0) if tiled else strip
    columns = layout.one(tags.TILE_WIDTH, 0) if tiled else layout.width
    down = max(1, -(-layout.height // rows)) if rows else 1
    across = max(1, -(-layout.width // columns)) if columns else 1
    for number, (offset, length) in enumerate(zip(offsets, lengths, strict=False)):
        plane, at = divmod(number, down * across)
        if plane >= layout.planes:
            return
        top, left = at // across * rows, at % across * columns
        yield Piece(offset, length, plane, top, left, rows if tiled else min(rows, layout.height - top), columns)


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


def _check_uncompressed(found: list[Piece], size: int, layout: TiffLayout) -> None:
    bits = sum(layout.bits) if len(layout.bits) == layout.samples else layout.samples * layout.bits[0]
    if layout.is_separate:
        bits = max(layout.bits)
    end = Piece(size, 0, 0, 0, 0, 0, 0)
    for piece, following in itertools.pairwise([*sorted(found), end]):
        needed = piece.rows * ((piece.columns * bits + 7) // 8)
        if layout.photometric == tags.YCBCR:  # its colours may be stored for fewer pixels
            needed = piece.length
        if piece.offset + needed > size:
            raise tags.damaged("its strips or tiles are cut off")
        if 0 < piece.length < needed and piece.offset < following.offset < piece.offset + needed:
            raise tags.damaged(f"a strip or tile has {piece.length} bytes, expected {needed}")
