"""TIFF directory: keeps the tags that pixels are made of, and bounds what strips and tiles make a decoder do.

Tags and layout: TIFF 6.0, sections 2, 3, 8 and 15; BigTIFF's layout: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from azaion_engine.errors import PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError

MOST_ENTRIES = 1 << 12
"""Maximum entries of the directory; real ones have some dozens."""
MOST_PIECES = 1 << 16
"""Maximum strips and tiles; Pillow decodes uncompressed ones one by one, in Python."""
_MOST_VALUE_BYTES = 8 * MOST_PIECES
"""Maximum bytes of one tag's value: offsets of as many pieces, in 64 bits."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES = 273, 274, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _DNG_VERSION = 322, 323, 324, 325, 50706
_NEEDED = frozenset(
    (
        *(254, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, 262, 266),  # kind of image, colours, order of bits
        *(_STRIP_OFFSETS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES),
        *(292, 293, 317, 320, 332, 338, 339, 347),  # fax, predictor, palette, inks, extra samples, JPEG tables
        *(_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES),
        *(512, 513, 514, 515, 519, 520, 521),  # JPEG's tables of TIFF 6.0
        *(529, 530, 531, 532, _DNG_VERSION),  # YCbCr
    )
)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value by type."""
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""Types of whole numbers, and their letters in `struct`."""
_JPEG = (6, 7)
_COMPRESSIONS = (1, 2, 3, 4, 5, *_JPEG, 8, 32773, 32946, 50000, 50001)
"""None, fax, LZW, JPEG, Deflate, PackBits, Zstandard and WebP. LZMA is left out: its decoder allocates up to 4 GiB."""
_PROGRESSIVE = re.compile(rb"\xff\xc2\x00[\x0b\x0e\x11\x14]\x08")
"""A progressive frame's marker, its length and its 8 bits a sample (ITU-T T.81, B.2.2)."""


class TiffDirectory(NamedTuple):
    """The first image of a TIFF, without what its pixels do not need.

    Attributes:
        data: The file; other tags and directories are left out of it.
        orientation: 1…8; 1 where absent or invalid. The tag is left out: Pillow would turn the pixels on loading.
        piece_bytes: Decoded bytes of the largest strip or tile.
    """

    data: bytes
    orientation: int
    piece_bytes: int


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
        raise _damaged("its directory is missing") from None
    if count > MOST_ENTRIES:
        raise UndecodablePictureError(f"the TIFF has {count} tags, at most {MOST_ENTRIES} are accepted")
    first = at + head
    if first + count * size > len(data):
        raise _damaged("its directory is cut off")

    kept: dict[int, bytes] = {}
    values: dict[int, tuple[int, ...]] = {}
    for position in range(first, first + count * size, size):
        tag, kind, number, place = struct.unpack_from(entry, data, position)
        if tag not in _NEEDED and tag != _ORIENTATION:
            continue
        length = number * _SIZES.get(kind, 0)
        if length > _MOST_VALUE_BYTES:
            raise UndecodablePictureError(
                f"the TIFF's tag {tag} has {number} values; at most {MOST_PIECES} strips and tiles are accepted"
            )
        if kind in _WHOLE:
            start = position + size - inline if length <= inline else struct.unpack(order + offset, place)[0]
            if start + length <= len(data):
                values[tag] = struct.unpack_from(f"{order}{number}{_WHOLE[kind]}", data, start)
        if tag != _ORIENTATION:
            kept[tag] = data[position : position + size]
    piece_bytes = _check_pieces(data, values, max_pixels)
    [orientation] = values.get(_ORIENTATION, (1,))[:1] or (1,)
    return TiffDirectory(
        _with_directory(data, at, struct.pack(counter, len(kept)), kept, count * size + inline),
        orientation if 1 <= orientation <= 8 else 1,
        piece_bytes,
    )


def _check_pieces(data: bytes, values: dict[int, tuple[int, ...]], max_pixels: int) -> int:
    """Checks strips and tiles; returns the decoded bytes of the largest."""

    def one(tag: int, default: int) -> int:
        return (values.get(tag) or (default,))[0]

    compression = one(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise UnsupportedPictureError(f"given a TIFF of compression {compression}, which is not accepted")
    if compression in _JPEG and _PROGRESSIVE.search(data):
        raise UnsupportedPictureError("given a TIFF with a progressive JPEG in it")
    for tag in (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES):
        if len(values.get(tag, ())) > MOST_PIECES:
            raise UndecodablePictureError(f"the TIFF has more than the {MOST_PIECES} strips and tiles accepted")
    if max(sum(values.get(_STRIP_BYTES, ())), sum(values.get(_TILE_BYTES, ()))) > 2 * len(data):
        raise _damaged("its strips or tiles overlap or reach beyond its end")
    width, height = one(_WIDTH, 0), one(_HEIGHT, 0)
    across, down = one(_TILE_WIDTH, 0), one(_TILE_HEIGHT, 0)
    if across and down:
        padded = -(-width // across) * across * (-(-height // down) * down)
        if padded > max(max_pixels, 4 * width * height):
            raise PictureTooLargeError(
                f"the TIFF's tiles have {padded} pixels, padding included, at most {max_pixels} are accepted"
            )
    else:
        across, down = width, min(one(_ROWS, height), height)
    bits = max(values.get(_BITS) or (1,))
    return across * down * -(-one(_SAMPLES, 1) * bits // 8)


def _with_directory(data: bytes, at: int, count: bytes, kept: dict[int, bytes], room: int) -> bytes:
    """Writes a directory over the one at an offset, which took `room` bytes; zeros say that none follows."""
    entries = b"".join(kept[tag] for tag in sorted(kept))
    if data.startswith(b"".join([count, entries, bytes(room - len(entries))]), at):
        return data
    end = at + len(count) + room
    return b"".join([memoryview(data)[:at], count, entries.ljust(room, b"\0"), memoryview(data)[end:]])


def _damaged(why: str) -> UndecodablePictureError:
    return UndecodablePictureError(f"the TIFF is damaged or truncated: {why}")
