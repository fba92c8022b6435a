"""Blank parts: what a file has that was not written to its end, on a disk (zeros) or in flash memory (ones)."""

from __future__ import annotations

_BLANKS = (bytes(256), b"\xff" * 256)


def has_blank_part(data: bytes, start: int, end: int) -> bool:
    """Returns whether a part of a file has a run of 256 zeros, or of 256 bytes of ones.

    Args:
        data: The file.
        start: Offset of the part.
        end: Offset behind it.
    """
    return any(data.find(blank, start, end) >= 0 for blank in _BLANKS)
