"""TIFF rewriting: a new directory for the strips or tiles that a file already has."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_UNIT = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes that change places together between the two byte orders, by type; a rational is two numbers of 4."""
_WIDE = (16, 17, 18)
"""Types of 8 bytes that only BigTIFF has."""
_LONG = 4


def with_new_directory(data: bytes, entries: Mapping[int, tuple[int, ...]]) -> bytes:
    """Writes a little-endian TIFF of the same bytes, whose directory stands behind them.

    Args:
        data: A TIFF or BigTIFF of less than 4 GiB.
        entries: Whole numbers of each tag.

    Raises:
        OverflowError: An offset or a value does not fit into 32 bits.
    """
    return _with_values(data, {tag: (_LONG, len(v), _longs(v)) for tag, v in entries.items()})


def as_little_endian(data: bytes, entries: Mapping[int, tuple[int, int, bytes]]) -> bytes:
    """Rewrites the directory of a big-endian BigTIFF, which Pillow does not read.

    Args:
        data: The file; its samples have at most 8 bits, or the caller knows their byte order.
        entries: Type, number of values and these as stored, of each tag.

    Raises:
        OverflowError: An offset does not fit into 32 bits.
    """
    turned: dict[int, tuple[int, int, bytes]] = {}
    for tag, (kind, number, value) in entries.items():
        unit = _UNIT.get(kind, 1)
        if kind in _WIDE:
            turned[tag] = (_LONG, number, _longs(struct.unpack(f">{len(value) // unit}Q", value)))
        else:
            value = value[: len(value) // unit * unit]
            turned[tag] = (kind, number, b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit)))
    return _with_values(data, turned)


def _longs(values: tuple[int, ...]) -> bytes:
    try:
        return struct.pack(f"<{len(values)}I", *values)
    except struct.error as error:
        raise OverflowError(str(error)) from error


def _with_values(data: bytes, entries: Mapping[int, tuple[int, int, bytes]]) -> bytes:
    pad = b"\0" * (len(data) % 2)  # directories begin at even offsets
    at = len(data) + len(pad)
    end = at + 2 + 12 * len(entries) + 4
    head, values = struct.pack("<H", len(entries)), b""
    for tag, (kind, number, value) in sorted(entries.items()):
        head += struct.pack("<HHI", tag, kind, number)
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += _longs((end + len(values),))
            values += value.ljust(len(value) + len(value) % 2, b"\0")
    start = b"II*\0" + _longs((at,))
    return b"".join([start, memoryview(data)[8:], pad, head, b"\0" * 4, values])
