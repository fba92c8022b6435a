"""TIFF directory: keeps the tags that pixels are made of, and bounds what strips and tiles make a decoder do.

Tags and layout: TIFF 6.0, sections 2, 3, 8 and 15; BigTIFF's layout: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from azaion_engine.errors import PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout
from azaion_engine.pictures.bounds.tiff_rewriting import as_little_endian

MOST_ENTRIES = 1 << 12
"""Maximum entries of the directory; real ones have some dozens."""
MOST_PIECES = 1 << 16
"""Maximum strips and tiles; Pillow decodes uncompressed ones one by one, in Python."""
_MOST_NODATA_BYTES = 64
_MOST_VALUE_BYTES = 8 * MOST_PIECES
"""Maximum bytes of one tag's value: offsets of as many pieces, in 64 bits."""

_ORIENTATION = 274
_NEEDED = frozenset(
    (
        *(tags.SUBFILE_TYPE, tags.WIDTH, tags.HEIGHT, tags.BITS, tags.COMPRESSION, tags.PHOTOMETRIC, tags.FILL_ORDER),
        *(tags.STRIP_OFFSETS, tags.SAMPLES, tags.ROWS, tags.STRIP_BYTES, tags.PLANES),
        *(292, 293, tags.PREDICTOR, 332, 338, tags.SAMPLE_FORMAT, 347),  # fax, inks, JPEG tables
        tags.COLOUR_MAP,
        *(tags.TILE_WIDTH, tags.TILE_HEIGHT, tags.TILE_OFFSETS, tags.TILE_BYTES),
        *(512, 513, 514, 515, 519, 520, 521),  # JPEG's tables of TIFF 6.0
        *(529, 530, 531, 532, tags.DNG_VERSION),  # YCbCr
    )
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value by type."""
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Types of whole numbers, and their letters in `struct`."""
_PROGRESSIVE = re.compile(rb"\xff\xc2\x00[\x0b\x0e\x11\x14]\x08")
"""A progressive frame's marker, its length and its 8 bits a sample (ITU-T T.81, B.2.2)."""


class TiffDirectory(NamedTuple):
    """The first image of a TIFF, without what its pixels do not need.

    Attributes:
        data: The file; other tags and directories are left out of it.
        orientation: 1…8; 1 where absent or invalid. The tag is left out: Pillow would turn the pixels on loading.
        piece_bytes: Decoded bytes of the largest strip or tile.
        layout: How its samples are stored.
    """

    data: bytes
    orientation: int
    piece_bytes: int
    layout: TiffLayout


def needed_tags(data: bytes, max_pixels: int) -> TiffDirectory:
    """Drops the tags that the decoder does not need, and checks those that it follows.

    Args:
        data: A file that begins with TIFF's signature.
        max_pixels: Maximum pixels, the tiles' padding included.

    Raises:
        UndecodablePictureError: The directory is cut off, or has more entries or pieces than the bounds.
        UnsupportedPictureError: A compression that is not accepted.
        PictureTooLargeError: The tiles have more pixels than `max_pixels`.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    # Entry: tag, type, number of values, and the value itself or its offset.
    entry, counter, offset = (order + "HHQ8s", order + "Q", "Q") if big else (order + "HHI4s", order + "H", "I")
    head, size = struct.calcsize(counter), struct.calcsize(entry)
    inline = 8 if big else 4
    try:
        [at] = struct.unpack_from(order + offset, data, 8 if big else 4)
        [count] = struct.unpack_from(counter, data, at)
    except (struct.error, OverflowError):
        raise tags.damaged("its directory is missing") from None
    if count > MOST_ENTRIES:
        raise UndecodablePictureError(f"the TIFF has {count} tags, at most {MOST_ENTRIES} are accepted")
    first = at + head
    if first + count * size > len(data):
        raise tags.damaged("its directory is cut off")

    kept: dict[int, bytes] = {}
    encoded: dict[int, tuple[int, int, bytes]] = {}
    nodata: float | None = None
    values: dict[int, tuple[int, ...]] = {}
    for position in range(first, first + count * size, size):
        tag, kind, number, place = struct.unpack_from(entry, data, position)
        if tag == tags.GDAL_NODATA:
            start = position + size - inline if number <= inline else struct.unpack(order + offset, place)[0]
            nodata = _number(data[start : start + min(number, _MOST_NODATA_BYTES)])
        if tag not in _NEEDED and tag != _ORIENTATION:
            continue
        length = number * _SIZES.get(kind, 0)
        if length > _MOST_VALUE_BYTES:
            raise UndecodablePictureError(
                f"the TIFF's tag {tag} has {number} values; at most {MOST_PIECES} strips and tiles are accepted"
            )
        start = position + size - inline if length <= inline else struct.unpack(order + offset, place)[0]
        if kind in _WHOLE and start + length <= len(data):
            values[tag] = struct.unpack_from(f"{order}{number}{_WHOLE[kind]}", data, start)
        if tag != _ORIENTATION:
            kept[tag] = data[position : position + size]
            encoded[tag] = (kind, number, data[start : start + length])
    layout = TiffLayout(values, order == ">", nodata)
    piece_bytes = _check_pieces(data, layout, max_pixels)
    orientation = layout.one(_ORIENTATION, 1)
    if big and order == ">" and not layout.is_deep:
        lean = _turned(data, encoded)
    else:
        lean = _with_directory(data, at, struct.pack(counter, len(kept)), kept, count * size + inline)
    return TiffDirectory(
        lean,
        orientation if 1 <= orientation <= 8 else 1,
        piece_bytes,
        layout,
    )


def _turned(data: bytes, encoded: dict[int, tuple[int, int, bytes]]) -> bytes:
    try:
        return as_little_endian(data, encoded)
    except (OverflowError, struct.error):
        raise tags.damaged("a tag of its directory reaches beyond its end") from None


def _number(text: bytes) -> float | None:
    """Reads GDAL's decimal number, e.g. `-9999` or `nan`, that zeros may follow; None if it is none."""
    try:
        return float(text.split(b"\0")[0].decode("ascii").strip())
    except ValueError:  # broken metadata do not make a picture unusable; a UnicodeError is one too
        return None


def _check_pieces(data: bytes, layout: TiffLayout, max_pixels: int) -> int:
    """Checks compression, strips and tiles; returns the decoded bytes of the largest."""
    values, one = layout.values, layout.one
    compression = one(tags.COMPRESSION, 1)
    if compression not in tags.ACCEPTED:
        raise UnsupportedPictureError(
            f"given a TIFF with {tags.compression_name(compression)}, which is not accepted; "
            "accepted are uncompressed, LZW, Deflate, Zstandard, PackBits, JPEG and fax"
        )
    if compression in (tags.OLD_JPEG, tags.JPEG) and _PROGRESSIVE.search(data):
        raise UnsupportedPictureError("given a TIFF with a progressive JPEG in it")
    for tag in (tags.STRIP_OFFSETS, tags.STRIP_BYTES, tags.TILE_OFFSETS, tags.TILE_BYTES):
        if len(values.get(tag, ())) > MOST_PIECES:
            raise UndecodablePictureError(f"the TIFF has more than the {MOST_PIECES} strips and tiles accepted")
    if max(sum(values.get(tags.STRIP_BYTES, ())), sum(values.get(tags.TILE_BYTES, ()))) > 2 * len(data):
        raise tags.damaged("its strips or tiles overlap or reach beyond its end")
    width, height = one(tags.WIDTH, 0), one(tags.HEIGHT, 0)
    across, down = one(tags.TILE_WIDTH, 0), one(tags.TILE_HEIGHT, 0)
    if across and down:
        padded = -(-width // across) * across * (-(-height // down) * down)
        if padded > max(max_pixels, 4 * width * height):
            raise PictureTooLargeError(
                f"the TIFF's tiles have {padded} pixels, padding included, at most {max_pixels} are accepted"
            )
    else:
        across, down = width, min(one(tags.ROWS, height), height)
    bits = max(values.get(tags.BITS) or (1,))
    return across * down * -(-one(tags.SAMPLES, 1) * bits // 8)


def _with_directory(data: bytes, at: int, count: bytes, kept: dict[int, bytes], room: int) -> bytes:
    """Writes a directory over the one at an offset, which took `room` bytes; zeros say that none follows."""
    entries = b"".join(kept[tag] for tag in sorted(kept))
    if data.startswith(b"".join([count, entries, bytes(room - len(entries))]), at):
        return data
    end = at + len(count) + room
    return b"".join([memoryview(data)[:at], count, entries.ljust(room, b"\0"), memoryview(data)[end:]])
