"""JPEG segments: keeps those that pixels are made of, and bounds the number of scans."""

from __future__ import annotations

import re
from typing import NamedTuple

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError

MOST_SCANS = 32
"""Maximum scans of one picture: encoders write 1 to 15, and each is a pass over the whole picture."""

MOST_SEGMENTS = 1 << 12
"""Maximum segments before the first scan, a run of fill bytes or junk being one; profiles and previews of a large
picture take some hundreds."""

_SCAN, _END, _JFIF, _EXIF, _ADOBE, _COMMENT = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xFE
_FRAMES = {
    **dict.fromkeys((0xC0, 0xC1, 0xC2, 0xC9, 0xCA)),  # sequential and progressive, Huffman-coded or arithmetic
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    0xF7: "JPEG-LS",
}
"""Markers that begin a frame, with the names of the kinds that are not decoded (T.81, B.1.1.3; T.87, C.1.1)."""
_DROPPED = frozenset((*range(0xE0, 0xF0), _COMMENT))
"""Application segments and comments (ITU-T T.81, B.2.4)."""
_COLOURS = {_JFIF: (b"JFIF\0", 14), _ADOBE: (b"Adobe", 12)}
"""Application segments that tell the colours: what they begin with, and the bytes from which on libjpeg heeds them
(jdmarker.c); one of the same marker and another content, e.g. JFXX, says nothing."""
_FILLS = re.compile(rb"\xff+(?=\xff)")
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers that no length follows (T.81, B.1.1.3)."""
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""A marker in entropy-coded data, not a stuffed byte, restart or fill byte (T.81, B.1.1)."""
_STEP = 128 * 1024
"""Bytes per search: a regular expression holds the GIL, for long if every other byte is 0xFF."""


class JpegSegments(NamedTuple):
    """A JPEG without what its pixels do not need.

    Attributes:
        data: The file; application segments and comments before the first scan are left out.
        exif: Its first EXIF block, with the prefix `Exif` and two zeros; empty if there is none.
        scan: Offset in `data` of the first scan's marker; its length if there is none.
    """

    data: bytes
    exif: bytes
    scan: int


def needed_segments(data: bytes) -> JpegSegments:
    """Drops the segments that the decoder does not need; takes microseconds a segment.

    Args:
        data: A file that begins with JPEG's marker; what is malformed stays, for the decoder to refuse.

    Raises:
        UndecodablePictureError: There are more than `MOST_SEGMENTS` segments and bytes between them.
        UnsupportedPictureError: A kind of JPEG that OpenCV and Pillow do not decode; the message names it.
    """
    kept: list[tuple[int, int]] = [(0, 2)]
    exif = b""
    seen_jfif = False
    at = 2
    for _ in range(MOST_SEGMENTS):
        if at + 1 >= len(data):
            break
        if data[at] != 0xFF:  # what decoders skip: junk
            found = data.find(b"\xff", at, at + _STEP)
            at = found if found >= 0 else at + _STEP
            continue
        if fills := _FILLS.match(data, at, at + _STEP):
            at = fills.end()
            continue
        marker = data[at + 1]
        if marker in _ALONE or marker == 0x00:
            at += 2
            continue
        if marker in (_SCAN, _END):
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            break
        if marker in _FRAMES:
            _check_frame(marker, data[at + 4 : end])
        if marker == _EXIF and not exif and data.startswith(b"Exif\0\0", at + 4):
            exif = data[at + 4 : end]
        tells = _tells_colours(marker, data, at + 4, end)
        if marker not in _DROPPED or (tells and not (marker == _JFIF and seen_jfif)):
            start, last = kept[-1]
            kept[-1:] = [(start, end)] if last == at else [(start, last), (at, end)]
        seen_jfif |= tells and marker == _JFIF
        at = end
    else:
        raise UndecodablePictureError(f"the JPEG has more than the {MOST_SEGMENTS} pieces accepted in its header")
    if kept == [(0, at)]:
        return JpegSegments(data, exif, at)
    scan = sum(end - start for start, end in kept)
    return JpegSegments(b"".join([*(data[start:end] for start, end in kept), memoryview(data)[at:]]), exif, scan)


def _tells_colours(marker: int, data: bytes, start: int, end: int) -> bool:
    prefix, least = _COLOURS.get(marker, (b"", 0))
    return bool(prefix) and end - start >= least and data.startswith(prefix, start)


def _check_frame(marker: int, frame: bytes) -> None:
    kind = _FRAMES[marker]
    if kind is None and frame[:1] not in (b"\x08", b""):
        kind = f"JPEG of {frame[0]} bits a sample"
    if kind is None and frame[1:3] == b"\0\0":  # T.81, B.2.5: the segment DNL behind the first scan tells it
        kind = "JPEG without a height in its header"
    if kind is not None:
        raise UnsupportedPictureError(f"given a {kind}; accepted are baseline and progressive JPEGs of 8 bits a sample")


def find_scans(data: bytes, scan: int) -> list[tuple[int, int]]:
    """Finds all scans; looks at no byte beyond the end marker, nor beyond the limit.

    Args:
        data: The file.
        scan: Offset of the first scan's marker.

    Returns:
        Offsets of each scan's compressed data and of the marker behind them.

    Raises:
        UndecodablePictureError: There are more than `MOST_SCANS` scans, or segments between them without end; or the
            end marker is missing, or the scans that bring the last bits of coefficients.
    """
    scans: list[tuple[int, int]] = []
    coarse: set[tuple[int, int]] = set()
    start: int | None = None
    at = scan
    for _ in range(MOST_SEGMENTS):
        found = next_marker(data, at)
        if found is None:
            raise UndecodablePictureError("the JPEG is damaged or truncated: its end is missing")
        at, marker = found
        if start is not None:
            scans.append((start, at - 2))
            start = None
        if marker == _END:
            if coarse:
                raise UndecodablePictureError("the JPEG is damaged or truncated: its last scans are missing")
            return scans
        if marker == _SCAN:
            _note_precision(data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")], coarse)
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
        if marker == _SCAN:
            start = at
            if len(scans) >= MOST_SCANS:
                raise UndecodablePictureError(f"the JPEG has more than the {MOST_SCANS} scans accepted")
    raise UndecodablePictureError(f"the JPEG has more than the {MOST_SEGMENTS} pieces accepted between its scans")


def _note_precision(scan: bytes, coarse: set[tuple[int, int]]) -> None:
    """Notes which coefficients of which components still lack bits after a scan: T.81, B.2.3 and G.1.1.1.2.

    Args:
        scan: Its header: components, their tables, first and last coefficient, previous and new number of missing bits.
        coarse: Pairs of component and coefficient; changed.
    """
    if len(scan) < 4 or len(scan) < 1 + 2 * scan[0] + 3:
        return  # the decoder will refuse it
    first, last, missing = scan[1 + 2 * scan[0] : 4 + 2 * scan[0]]
    those = {(component, at) for component in scan[1 : 1 + 2 * scan[0] : 2] for at in range(first, min(last, 63) + 1)}
    if missing & 15:
        coarse |= those
    else:
        coarse -= those


def next_marker(data: bytes, start: int) -> tuple[int, int] | None:
    """Finds the first marker from a position on; returns the offset behind it, and its second byte."""
    for at in range(start, len(data) - 1, _STEP):
        if found := _MARKER.search(data, at, at + _STEP + 1):
            return found.end(), found[1][0]
    return None
