"""Map tags: size and map of a TIFF's first image; the map copied into a file without pixels.

GDAL follows every directory of a file before it says where the picture lies; in an upload those are the sender's
choice. The copy has one directory and a few KiB, whatever the upload has.

Tags: OGC GeoTIFF 1.1 (19-008r4), section 7.1 and annex B; layout: TIFF 6.0, section 2, and BigTIFF as in
`pictures.bounds.tiff_directory`.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from azaion_engine.pictures.bounds.tiff_directory import MOST_ENTRIES

_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_SCALE, _TIE_POINTS, _MATRIX, _KEYS, _DOUBLES, _TEXTS = 33550, 33922, 34264, 34735, 34736, 34737
_WANTED = (_WIDTH, _HEIGHT, _ORIENTATION, _SCALE, _TIE_POINTS, _MATRIX, _KEYS, _DOUBLES, _TEXTS)
_SHORT, _LONG, _ASCII, _DOUBLE = 3, 4, 2, 12
_KINDS = {_SHORT: "H", _LONG: "I", _DOUBLE: "d", _ASCII: "B", 16: "Q"}
_MOST_VALUES = 1 << 12
"""Maximum values of one tag; a coordinate system has some dozens of keys, and a text of some hundred characters."""
_FREE_TIE_POINTS = 6
"""Numbers of one tie point; several are ground control points, which give no transform."""

_Values = dict[int, tuple[int, tuple[Any, ...]]]
"""Tag → type and values."""
_UPRIGHT, _NONE = (_SHORT, (1,)), (_SHORT, ())


class MapTags(NamedTuple):
    """Where the first image of a TIFF says that it lies.

    Attributes:
        data: A GeoTIFF of the same width and height with the same map, without pixels.
        upright: Whether the orientation tag leaves the pixels as stored.
    """

    data: bytes
    upright: bool


def read_map_tags(data: bytes) -> MapTags | None:
    """Returns the map of a TIFF's first image; None if it has none, or is damaged.

    Args:
        data: An encoded picture; no more of it is read than the directory and the values of its map tags.
    """
    values = _read(io.BytesIO(data))
    if not values.keys() >= {_WIDTH, _HEIGHT, _KEYS} or len(values.get(_TIE_POINTS, _NONE)[1]) > _FREE_TIE_POINTS:
        return None
    orientation = values.pop(_ORIENTATION, _UPRIGHT)[1][0]
    try:
        return MapTags(_written(values), orientation == 1)
    except struct.error:  # a side of 2³² pixels or more
        return None


def read_size(path: Path) -> tuple[int, int, bool] | None:
    """Returns width and height of a TIFF file in pixels as stored, and whether it is upright; None if it is damaged."""
    try:
        with path.open("rb") as file:
            values = _read(file)
    except OSError:
        return None
    if not values.keys() >= {_WIDTH, _HEIGHT}:
        return None
    return int(values[_WIDTH][1][0]), int(values[_HEIGHT][1][0]), values.get(_ORIENTATION, _UPRIGHT)[1][0] == 1


def _read(file: BinaryIO) -> _Values:
    """Returns the wanted tags of the first directory, each with its type; none if the file is damaged."""
    try:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        entry, counter, offset = (order + "HHQ8s", order + "Q", "Q") if big else (order + "HHI4s", order + "H", "I")
        file.seek(struct.unpack_from(order + offset, head, 8 if big else 4)[0])
        [count] = struct.unpack(counter, file.read(struct.calcsize(counter)))
        if count > MOST_ENTRIES:
            return {}
        entries = list(struct.iter_unpack(entry, file.read(count * struct.calcsize(entry))))
        values: _Values = {}
        for tag, kind, number, place in entries:
            if tag not in _WANTED or kind not in _KINDS or not 0 < number <= _MOST_VALUES:
                continue
            layout = f"{order}{number}{_KINDS[kind]}"
            size = struct.calcsize(layout)
            if size > len(place):
                file.seek(struct.unpack(order + offset, place)[0])
                place = file.read(size)
            values[tag] = kind, struct.unpack_from(layout, place)
        return values if len(entries) == count else {}
    except (struct.error, OverflowError, ValueError, OSError):  # cut off, or offsets that lead nowhere
        return {}


def _written(values: _Values) -> bytes:
    """Writes a little-endian TIFF of one band whose only strip is left out."""
    height = values[_HEIGHT][1][0]
    size = {tag: (_LONG, values[tag][1][:1]) for tag in (_WIDTH, _HEIGHT)}
    strip = {258: (_SHORT, (8,)), 259: (_SHORT, (1,)), 262: (_SHORT, (1,)), 277: (_SHORT, (1,))}
    empty = {273: (_LONG, (0,)), 278: (_LONG, (height,)), 279: (_LONG, (0,))}
    tags = sorted({**values, **size, **strip, **empty}.items())
    tail, entries = b"", b""
    begin = 8 + 2 + 12 * len(tags) + 4
    for tag, (kind, numbers) in tags:
        packed = struct.pack(f"<{len(numbers)}{_KINDS[kind]}", *numbers)
        if kind == _ASCII:  # 7 bits by the standard; rasterio reports others on stderr
            packed = bytes(byte & 0x7F for byte in packed)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", begin + len(tail))
        if len(packed) > 4:
            tail += packed + bytes(len(packed) % 2)
        entries += struct.pack("<HHI4s", tag, kind, len(numbers), place)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail
