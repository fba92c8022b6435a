"""JpegHeader: the header of a sequential JPEG, read much faster than by Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

_HARMLESS = frozenset((0xE0, 0xDB, 0xC4, 0xDD, 0xFE))
"""Segments that change neither orientation nor colour: JFIF, tables, restart interval, comment (ITU-T T.81, B.1)."""
_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers that begin a frame, one for each kind of JPEG."""
_SCAN, _RESTART_INTERVAL, _HUFFMAN_TABLES, _QUANTISATION_TABLES = 0xDA, 0xDD, 0xC4, 0xDB
_SCAN_MARKER, END_MARKER = b"\xff\xda", b"\xff\xd9"
_KNOWN_BYTES = 2048
"""Bytes of a header that is remembered: frame and tables take 600, and what more there is differs."""
_WITHOUT_LENGTH = frozenset((0x00, 0x01, 0xFF, *range(0xD0, 0xDA)))
"""Fill bytes and markers that no length follows; none belongs here, and Pillow decides about files with one."""
_FRAME = Struct(">BHHB")
"""Start of a frame's header: bits per sample, height, width and number of components (T.81, B.2.2)."""
_SAMPLINGS = frozenset(across << 4 | down for across in range(1, 5) for down in range(1, 5))
"""Sampling factors that T.81 allows, horizontal and vertical in one byte."""
_MOST_SEGMENTS = 4096
"""Maximum segments read; profiles and previews of a large picture take some hundreds."""
_QUANTISERS = frozenset(range(4))
"""First byte of a usual quantisation table: 8 bits a value, and its number (T.81, B.2.4.1)."""
_QUANTISER_BYTES = 1 + 64
_CUT_QUANTISER = -1
_MOST_TABLE_BYTES = 4096
"""Bytes of Huffman tables that are kept; all eight that a scan can choose from take at most 2,184 (T.81, B.2.4.2)."""
_MOST_SCAN_BYTES = 16
"""Bytes of a scan's header that are kept: more than any has that fits a frame of up to four components."""
_HARDWARE_SAMPLING = ((1, 1), (2, 1), (1, 2), (2, 2))
"""Luma samples per chroma sample across and down: 4:4:4, 4:2:2, 4:4:0, 4:2:0, as nvJPEG's hardware takes them."""


class JpegHeader(NamedTuple):
    """Header of a sequential, Huffman-coded 8-bit JPEG with one or three components.

    Attributes:
        width: As stored, in pixels.
        height: As stored, in pixels.
        components: (identifier, horizontal sampling factor, vertical one) of each.
        scan: Offset of the first scan's compressed data, in bytes.
        scans_all: Whether the first scan contains all components: a sequential JPEG then has no other.
        plain: Whether no segment can affect orientation or colour: no EXIF, no Adobe marker, nothing unknown.
        restart_interval: Units (MCUs) from one restart marker to the next; 0: there are none.
        tables: Contents of the segments with Huffman tables, in order; none if they are too long, since headers are
            remembered.
        scan_header: Contents of the first scan's header, which names the tables of each component; 16 bytes at most.
        quantised: Whether every component's quantisation table is there, once, and all tables are of 8 bits and whole.
    """

    width: int
    height: int
    components: tuple[tuple[int, int, int], ...]
    scan: int = 0
    scans_all: bool = False
    plain: bool = True
    restart_interval: int = 0
    tables: tuple[bytes, ...] = ()
    scan_header: bytes = b""
    quantised: bool = False

    @property
    def mode(self) -> str:
        """Pillow's mode of the pixels."""
        return "L" if len(self.components) == 1 else "RGB"

    @property
    def suits_hardware(self) -> bool:
        """Whether a hardware decoder takes its components: grey, or YCbCr with common subsampling.

        Without a quantisation table nvJPEG takes it, too, and makes some picture of it, where libjpeg refuses it; what
        it makes of the unusual ones that libjpeg accepts is not known.
        """
        if not self.quantised:
            return False
        if len(self.components) == 1:
            return True
        # Without Adobe's marker, three components are YCbCr unless their identifiers are "RGB" (libjpeg, jdapimin.c).
        (_, *luma), *chroma = self.components
        rgb = bytes(component[0] for component in self.components) == b"RGB"
        return not rgb and tuple(luma) in _HARDWARE_SAMPLING and all(c[1:] == (1, 1) for c in chroma)


def read_jpeg_header(data: bytes | memoryview) -> JpegHeader | None:
    """Reads the header; None for any other picture: progressive, CMYK, 12 bits, truncated or not a JPEG.

    Args:
        data: The encoded picture.
    """
    begin = bytes(data[:_KNOWN_BYTES])  # a view cannot be searched
    scan = begin.find(_SCAN_MARKER)
    if scan > 0:
        end = scan + 2 + int.from_bytes(begin[scan + 2 : scan + 4], "big")
        known = _read_known(begin[:end])
        if known is not None and known.scan == end:  # it depends on no byte behind
            return known
    return _read(data)


def _read(data: bytes | memoryview) -> JpegHeader | None:
    frame: JpegHeader | None = None
    plain, interval = True, 0
    tables: list[bytes] = []
    quantisers: list[int] = []
    needed = set[int]()
    for marker, start, end in _segments(data):
        if marker == _SCAN:
            if frame is None:
                return None
            scans_all = start < end and data[start] == len(frame.components)
            kept = tuple(tables) if sum(map(len, tables)) <= _MOST_TABLE_BYTES else ()
            scan_header = bytes(data[start : min(end, start + _MOST_SCAN_BYTES)])
            quantised = needed <= set(quantisers) <= _QUANTISERS and len(set(quantisers)) == len(quantisers)
            return JpegHeader(*frame[:3], end, scans_all, plain, interval, kept, scan_header, quantised)
        if marker in _FRAMES:
            if marker not in _SEQUENTIAL or frame is not None:
                return None
            frame = _read_frame(bytes(data[start:end]))
            if frame is None:
                return None
            needed.update(data[start + _FRAME.size + 2 : end : 3])
        elif marker == _RESTART_INTERVAL:
            interval = int.from_bytes(data[start : start + 2], "big")
        elif marker == _HUFFMAN_TABLES:
            tables.append(bytes(data[start:end]))
        elif marker == _QUANTISATION_TABLES:
            quantisers.extend(_quantisers(bytes(data[start:end])))
        elif marker not in _HARMLESS:
            plain = False
    return None


_read_known = lru_cache(maxsize=64)(_read)
"""Encoders, and cameras that write no EXIF, send one header."""


def _segments(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start, end) of each segment before the first scan, and of the scan's own header."""
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] in _WITHOUT_LENGTH:
            return
        start, end = at + 4, at + 2 + (data[at + 2] << 8 | data[at + 3])
        if end < start or end > len(data):
            return
        yield data[at + 1], start, end
        at = end


def _quantisers(body: bytes) -> Iterator[int]:
    """Yields the first byte of each table of a segment, `_CUT_QUANTISER` for one that is not whole."""
    for at in range(0, len(body), _QUANTISER_BYTES):
        table = body[at : at + _QUANTISER_BYTES]
        yield table[0] if len(table) == _QUANTISER_BYTES and 0 not in table[1:] else _CUT_QUANTISER


def _read_frame(body: bytes) -> JpegHeader | None:
    if len(body) not in (_FRAME.size + 3, _FRAME.size + 9):  # one or three components
        return None
    bits, height, width, count = _FRAME.unpack_from(body)
    names, samplings = body[_FRAME.size :: 3], body[_FRAME.size + 1 :: 3]
    if bits != 8 or not height or not width or count != len(names) or not _SAMPLINGS.issuperset(samplings):
        return None
    components = tuple((name, sampling >> 4, sampling & 15) for name, sampling in zip(names, samplings, strict=True))
    return JpegHeader(width, height, components)
