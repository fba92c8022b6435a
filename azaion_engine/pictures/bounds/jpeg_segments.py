"""JPEG segments: keeps those that pixels are made of, and bounds the number of scans."""

from __future__ import annotations

import re
from typing import NamedTuple

from azaion_engine.errors import UndecodablePictureError

MOST_SCANS = 32
"""Maximum scans of one picture: encoders write 1 to 15, and each is a pass over the whole picture."""

MOST_SEGMENTS = 1 << 12
"""Maximum segments before the first scan; profiles and previews of a large picture take some hundreds."""

_SCAN, _END, _JFIF, _EXIF, _ADOBE, _COMMENT = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xFE
_DROPPED = frozenset((*range(0xE0, 0xF0), _COMMENT)) - {_ADOBE}
"""Application segments and comments (ITU-T T.81, B.2.4). Adobe's tells the colours, and the first JFIF one too."""
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
    """
    kept: list[tuple[int, int]] = [(0, 2)]
    exif = b""
    seen: set[int] = set()
    at = 2
    for _ in range(MOST_SEGMENTS):
        if at + 1 >= len(data):
            break
        if data[at] != 0xFF or data[at + 1] == 0xFF:  # what decoders skip: junk and fill bytes
            at += 1
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
        if marker == _EXIF and not exif and data.startswith(b"Exif\0\0", at + 4):
            exif = data[at + 4 : end]
        if marker not in _DROPPED or (marker == _JFIF and marker not in seen):
            start, last = kept[-1]
            kept[-1:] = [(start, end)] if last == at else [(start, last), (at, end)]
        seen.add(marker)
        at = end
    else:
        raise UndecodablePictureError(f"the JPEG has more than the {MOST_SEGMENTS} pieces accepted in its header")
    if kept == [(0, at)]:
        return JpegSegments(data, exif, at)
    scan = sum(end - start for start, end in kept)
    return JpegSegments(b"".join([*(data[start:end] for start, end in kept), memoryview(data)[at:]]), exif, scan)


def check_scans(data: bytes, scan: int) -> None:
    """Refuses a picture with too many scans; looks at no scan beyond the end marker, nor beyond the limit.

    Args:
        data: The file.
        scan: Offset of the first scan's marker.

    Raises:
        UndecodablePictureError: There are more than `MOST_SCANS` scans, or segments between them without end.
    """
    scans, at = 0, scan
    for _ in range(MOST_SEGMENTS):
        found = next_marker(data, at)
        if found is None or found[1] == _END:
            return
        at, marker = found
        scans += marker == _SCAN
        if scans > MOST_SCANS:
            raise UndecodablePictureError(f"the JPEG has more than the {MOST_SCANS} scans accepted")
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    raise UndecodablePictureError(f"the JPEG has more than the {MOST_SEGMENTS} pieces accepted between its scans")


def next_marker(data: bytes, start: int) -> tuple[int, int] | None:
    """Finds the first marker from a position on; returns the offset behind it, and its second byte."""
    for at in range(start, len(data) - 1, _STEP):
        if found := _MARKER.search(data, at, at + _STEP + 1):
            return found.end(), found[1][0]
    return None
