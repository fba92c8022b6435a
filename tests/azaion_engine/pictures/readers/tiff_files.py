"""TIFF files: written tag by tag, in every layout that `readers.tiff` reads."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

KINDS = {"u": 1, "i": 2, "f": 3, "c": 6}
"""Values of the tag SampleFormat."""


def tiff(
    samples: np.ndarray[Any, Any],
    *,
    order: str = "<",
    big: bool = False,
    separate: bool = False,
    deflate: bool = False,
    predictor: int = 1,
    tile: int = 0,
    rows: int = 7,
    photometric: int | None = None,
    nodata: str | None = None,
    more: dict[int, tuple[int, ...]] | None = None,
) -> bytes:
    """Writes `[height, width]` or `[height, width, samples]` in strips of some rows, or in square tiles."""
    cube = samples if samples.ndim == 3 else samples[..., None]
    height, width, count = cube.shape
    planes = [cube[..., [i]] for i in range(count)] if separate else [cube]
    pieces = []
    for plane in planes:
        if tile:
            padded = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, plane.shape[2]), plane.dtype)
            padded[:height, :width] = plane
            for top in range(0, padded.shape[0], tile):
                pieces += [padded[top : top + tile, x : x + tile] for x in range(0, padded.shape[1], tile)]
        else:
            pieces += [plane[top : top + rows] for top in range(0, height, rows)]
    encoded = [_encode(piece, order, predictor) for piece in pieces]
    encoded = [zlib.compress(one) for one in encoded] if deflate else encoded
    colour = photometric if photometric is not None else (2 if count >= 3 else 1)
    tags: dict[int, tuple[int, ...]] = {
        256: (width,), 257: (height,), 258: (cube.dtype.itemsize * 8,) * count, 259: (8 if deflate else 1,),
        262: (colour,), 277: (count,), 284: (2 if separate else 1,), 317: (predictor,),
        339: (KINDS[cube.dtype.kind],) * count, **(more or {}),
    }  # fmt: skip
    start = 16 if big else 8
    offsets = tuple(start + sum(map(len, encoded[:i])) for i in range(len(encoded)))
    lengths = tuple(map(len, encoded))
    tags.update(
        {322: (tile,), 323: (tile,), 324: offsets, 325: lengths} if tile else {278: (rows,), 273: offsets, 279: lengths}
    )
    return _file(b"".join(encoded), tags, order, big, nodata)


def _encode(piece: np.ndarray[Any, Any], order: str, predictor: int) -> bytes:
    if predictor == 2:
        whole = piece.view(f"u{piece.dtype.itemsize}")
        piece = np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1]))
    if predictor == 3:  # bytes of a row by significance, then their differences
        size = piece.dtype.itemsize
        rows = piece.astype(piece.dtype.newbyteorder(">")).reshape(len(piece), -1).view(np.uint8)
        planes = rows.reshape(len(piece), -1, size).swapaxes(1, 2).reshape(len(piece), -1, piece.shape[2])
        return np.diff(planes, axis=1, prepend=np.zeros_like(planes[:, :1])).tobytes()
    return piece.astype(piece.dtype.newbyteorder(order)).tobytes()


def _file(body: bytes, tags: dict[int, tuple[int, ...]], order: str, big: bool, nodata: str | None) -> bytes:
    kind, letter, unit = (16, "Q", 8) if big else (4, "I", 4)
    values = {
        tag: (kind, len(value), struct.pack(f"{order}{len(value)}{letter}", *value)) for tag, value in tags.items()
    }
    if nodata is not None:
        values[42113] = (2, len(nodata) + 1, nodata.encode() + b"\0")
    start = 16 if big else 8
    at = start + len(body)
    entry_bytes = 20 if big else 12
    end = at + (8 if big else 2) + entry_bytes * len(values) + unit
    entries, behind = b"", b""
    for tag, (type_, number, value) in sorted(values.items()):
        place = value.ljust(unit, b"\0")
        if len(value) > unit:
            place = struct.pack(order + letter, end + len(behind))
            behind += value
        entries += struct.pack(f"{order}HH{letter}", tag, type_, number) + place
    name = b"II" if order == "<" else b"MM"
    head = name + (struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at))
    count = struct.pack(order + ("Q" if big else "H"), len(values))
    return head + body + count + entries + b"\0" * unit + behind
