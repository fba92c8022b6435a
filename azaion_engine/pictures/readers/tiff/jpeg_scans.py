"""JPEG scans of a TIFF: whether its JPEG strips and tiles hold all of their pixels.

libtiff fills in what is missing, and only warns, which Pillow does not pass on.
"""

from __future__ import annotations

import zlib
from itertools import islice

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.jpeg_entropy import has_blank
from azaion_engine.pictures.bounds.jpeg_segments import find_scans, needed_segments
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout
from azaion_engine.pictures.bounds.tiff_pieces import Piece, pieces
from azaion_engine.pictures.readers.jpeg.header import END_MARKER
from azaion_engine.pictures.readers.jpeg.probe import is_not_cut, is_read_to_its_end

_TABLES = 347
"""Tag of the tables that all pieces share (Adobe Photoshop TIFF Technical Note 2, 2002)."""
_START = b"\xff\xd8"
_FILLED = frozenset((127, 128))
"""Levels of what libjpeg fills in, of all samples of a pixel; the first where white is zero."""
_MOST_SUSPECTS = 256
"""Maximum pieces that are looked at closer: each is decoded some times, and a cut file has a few."""
_NOT_KNOWN = 0
"""Checksum of pixels that OpenCV has not decoded yet."""


def check_scans(image: Image.Image, data: bytes, layout: TiffLayout) -> None:
    """Refuses a picture in which a JPEG is cut off or overwritten.

    Decodes a piece alone, and only one whose last pixel is what libjpeg fills in, or that has a run of zeros.

    Args:
        image: The loaded picture, in the file's own mode.
        data: The file.
        layout: Its layout; with another compression than JPEG there is nothing to check.

    Raises:
        UndecodablePictureError: As said.
    """
    if layout.one(tags.COMPRESSION, 1) != tags.JPEG:
        return
    tables = image.tag_v2.get(_TABLES) if isinstance(image, TiffImageFile) else None
    if not isinstance(tables, bytes) or not tables.startswith(_START):
        tables = _START
    suspects: dict[int, memoryview] = {}  # where there is nothing to be seen, many pieces are the same
    for piece in pieces(layout):
        end = piece.offset + piece.length
        if has_blank(data, piece.offset, end) or _is_filled(image, piece, layout.is_separate):
            jpeg = memoryview(data)[piece.offset : end]
            suspects[zlib.crc32(jpeg)] = jpeg
    for jpeg in islice(suspects.values(), _MOST_SUSPECTS):
        if not _is_whole(b"".join([tables.removesuffix(END_MARKER), jpeg[len(_START) :]])):
            raise tags.damaged("data are missing for a part of the pixels of a JPEG in it")


def _is_filled(image: Image.Image, piece: Piece, separate: bool) -> bool:
    """Returns whether the last pixel of a piece, as far as the picture shows it, may be none of the file's."""
    x, y = min(piece.left + piece.columns, image.width) - 1, min(piece.top + piece.rows, image.height) - 1
    pixel = image.getpixel((x, y))
    levels = pixel if isinstance(pixel, tuple) else (pixel,)
    return _FILLED.issuperset(levels[piece.plane : piece.plane + 1] if separate else levels)


def _is_whole(data: bytes) -> bool:
    data, _, first = needed_segments(data)
    scans = find_scans(data, first)
    whole = bool(scans) and is_not_cut(data, scans[-1][1], _NOT_KNOWN)
    return whole and all(is_read_to_its_end(data, *scan) for scan in scans if has_blank(data, *scan))
