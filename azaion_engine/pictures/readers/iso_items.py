"""ISO items: where the coded pictures of an AVIF or HEIC lie, and whether their bytes were ever written.

Boxes: ISO/IEC 14496-12, 8.11.3 (`iloc`) and 8.11.6 (`iinf`).
"""

from __future__ import annotations

from collections.abc import Iterator

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.bounds.blank import has_blank_part
from azaion_engine.pictures.readers.iso_boxes import MOST_BOXES, boxes

_CODED = (b"av01", b"hvc1")
"""Types of items that hold coded pixels; EXIF and other items may well end with zeros."""
_ENDS = (bytes(64), b"\xff" * 64)
"""What no coded picture ends with, but a file that was never written to its end, on a disk or in flash memory. HEVC
never has more than two zeros in a row (ITU-T H.265, 7.4.2), and AV1's tiles end with a one, behind which encoders only
fill up the byte (AV1 bitstream specification, 8.2.4). Ones, arithmetic coders write for the least probable pixels only.
"""


def check_written(data: bytes) -> None:
    """Refuses a file whose pictures are partly blank, as those are that were not written to their end.

    The decoders make some picture of it, and report nothing. What is malformed is left to them.

    Args:
        data: The file.

    Raises:
        UndecodablePictureError: A coded picture is partly blank, or there are more than `MOST_BOXES` boxes.
    """
    coded: set[int] = set()
    places: list[tuple[int, int, int]] = []
    for name, start, end in boxes(data, 0, len(data)):
        if name == b"iinf":
            coded.update(_coded_items(data, start, end))
        elif name == b"iloc":
            places.extend(_places(data[start:end]))
    # AV1 does not forbid a blank part: flat pictures have up to nine bytes of ones in a row.
    left = 2 * len(data)  # parts may overlap, in a hostile file thousands of times
    for item, start, end in places:
        left -= end - start
        if item in coded and (data.endswith(_ENDS, start, end) or (left >= 0 and has_blank_part(data, start, end))):
            raise UndecodablePictureError("the bytes of its pixels were not written to their end")


def _coded_items(data: bytes, start: int, end: int) -> Iterator[int]:
    """Yields the identifiers of the items in an item information box that hold coded pixels."""
    first = start + 4 + (2 if data[start : start + 1] == b"\0" else 4)  # version, flags and number of entries
    for name, at, last in boxes(data, first, end):
        size = 4 if data[at : at + 1] == b"\3" else 2
        kind = at + 4 + size + 2  # behind version, flags, identifier and protection
        if name == b"infe" and kind + 4 <= last and data[kind : kind + 4] in _CODED:
            yield int.from_bytes(data[at + 4 : at + 4 + size], "big")


def _places(box: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields identifier, begin and end of each part of each item that lies in the file itself."""
    at = 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(box[at - size : at], "big")

    version = number(4) >> 24
    sizes = number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version >= 2 else 2
    for _ in range(min(number(wide), MOST_BOXES)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)  # the file that holds it: this one
        base = number(base_size)
        for _ in range(number(2)):
            if at >= len(box):
                return
            number(index_size if version else 0)
            offset, length = number(offset_size), number(length_size)
            if method == 0 and length > len(_ENDS[0]):
                yield item, base + offset, base + offset + length
