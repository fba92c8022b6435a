"""PlainJpeg: the header of the simplest kind of JPEG, read in a tenth of the time that Pillow takes for it."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

_HARMLESS = frozenset((0xE0, 0xDB, 0xC4, 0xDD, 0xFE))
"""Segments without a say in it: JFIF, tables, the restart interval, comments (ITU-T T.81, table B.1)."""
_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame, one for each kind of JPEG."""
_SCAN = 0xDA
_FRAME = Struct(">BHHB")
"""Bits of a sample, height, width and components at the start of a frame's header (T.81, B.2.2)."""
_SAMPLINGS = frozenset(across << 4 | down for across in range(1, 5) for down in range(1, 5))
"""Samples of a component across and down, as one byte; what T.81 allows."""
_MOST_SEGMENTS = 4096
"""Looked at, in about a millisecond; profiles and previews of a large picture take some hundreds."""


class PlainJpeg(NamedTuple):
    """A sequential JPEG of 8 bits with one or three components and nothing about orientation or colour.

    Attributes:
        width: Pixels across.
        height: Pixels down.
        components: (identifier, samples across, samples down) of each.
        scan: Where the first scan's compressed data begin.
        scans_all: Whether the first scan is of all components: a sequential JPEG then has no other.
    """

    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]
    scan: int
    scans_all: bool

    @property
    def mode(self) -> str:
        """Pillow's name of the pixels."""
        return "L" if len(self.components) == 1 else "RGB"


def read_plain_jpeg(data: bytes) -> PlainJpeg | None:
    """Reads the header; None for every other picture, also one with EXIF, Adobe's marker, or anything odd.

    Args:
        data: The encoded picture.
    """
    frame: PlainJpeg | None = None
    for marker, start, end in _segments(data):
        if marker == _SCAN:
            if frame is None:
                return None
            return frame._replace(scan=end, scans_all=start < end and data[start] == len(frame.components))
        if marker in _SEQUENTIAL and frame is None:
            frame = _read_frame(data[start:end])
            if frame is None:
                return None
        elif marker not in _HARMLESS:
            return None
    return None


def is_baseline_jpeg(data: bytes) -> bool:
    """Tells whether the first frame is sequential and Huffman coded, as decoding hardware wants it; takes microseconds.

    Args:
        data: The encoded picture; anything else is False.
    """
    for marker, _, _ in _segments(data):
        if marker in _SEQUENTIAL:
            return True
        if marker in _FRAMES or marker == _SCAN:
            return False
    return False


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, begin, end) of what stands before the first scan, and of the scan's own header."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        start, end = at + 4, at + 2 + (data[at + 2] << 8 | data[at + 3])
        if end < start or end > len(data):
            return
        yield data[at + 1], start, end
        at = end


def _read_frame(body: bytes) -> PlainJpeg | None:
    if len(body) not in (_FRAME.size + 3, _FRAME.size + 9):  # one or three components
        return None
    bits, height, width, count = _FRAME.unpack_from(body)
    names, samplings = body[_FRAME.size :: 3], body[_FRAME.size + 1 :: 3]
    if bits != 8 or not height or not width or count != len(names) or not _SAMPLINGS.issuperset(samplings):
        return None
    components = tuple((name, sampling >> 4, sampling & 15) for name, sampling in zip(names, samplings, strict=True))
    return PlainJpeg(width, height, components, 0, False)
