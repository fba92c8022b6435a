"""ISO boxes: the sizes that an AVIF or HEIC claims, read before a decoder sees it.

Boxes: ISO/IEC 14496-12, 4.2 and 8.11; `ispe`: ISO/IEC 23008-12, 6.5.3.
"""

from __future__ import annotations

from collections.abc import Iterator

from azaion_engine.errors import UndecodablePictureError

MOST_BOXES = 1 << 14
"""Maximum boxes that are looked at: a grid of 12 × 16 tiles has some hundreds of properties."""
_FOLDERS = (b"meta", b"iprp", b"ipco")
"""Boxes on the way to the sizes."""
_SIZES, _PIXELS = b"ispe", b"mdat"


def claimed_sizes(data: bytes) -> list[tuple[int, int]]:
    """Returns (width, height) of every picture in a file: of the tiles, of what they form, of thumbnails.

    Args:
        data: The file.

    Raises:
        UndecodablePictureError: It is cut off, claims no size, or has more than `MOST_BOXES` boxes.
    """
    sizes = [
        (int.from_bytes(data[start + 4 : start + 8], "big"), int.from_bytes(data[start + 8 : start + 12], "big"))
        for name, start, end in boxes(data, 0, len(data))
        if name == _SIZES and end >= start + 12
    ]
    if not sizes:
        raise UndecodablePictureError("its headers claim no size")
    return sizes


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, and begin and end of the content, of each box on the way to the sizes.

    Args:
        data: The file.
        start: Where the first box begins.
        end: Where the last one ends.

    Raises:
        UndecodablePictureError: There are more than `MOST_BOXES`, or one that matters is cut off.
    """
    left = MOST_BOXES
    ranges = [(start, end)]
    while ranges:
        at, end = ranges.pop()
        while at + 8 <= end:
            left -= 1
            if left < 0:
                raise UndecodablePictureError(f"it has more than the {MOST_BOXES} boxes accepted")
            size, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
            if size == 1:
                size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
            elif size == 0:  # up to the end
                size = end - at
            if size < head:
                break
            last = min(at + size, end)
            if at + size > end and name in (*_FOLDERS, _PIXELS):
                raise UndecodablePictureError("it ends before its pixels do")
            yield name, at + head, last
            if name in _FOLDERS:
                ranges.append((at + head + (4 if name == b"meta" else 0), last))  # version and flags
            at += size
