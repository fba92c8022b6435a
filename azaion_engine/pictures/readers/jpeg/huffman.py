"""HuffmanScan: how a JPEG's only scan is coded: Huffman tables, which block uses which, number of blocks."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from azaion_engine.pictures.bounds.jpeg_entropy import units_of
from azaion_engine.pictures.readers.jpeg.header import JpegHeader

_LENGTHS = 16
"""Codes have 1…16 bits."""
_DC, _AC = 0, 1
_LARGEST_NUMBER = 3
_TABLES_OF_KIND = 2
"""Tables of each kind that a scan uses: luma's and chroma's, as a baseline JPEG has (ITU-T T.81, table B.5)."""
_MOST_BLOCKS = 10
"""Blocks of a unit that T.81 allows (B.2.3)."""
_LARGEST_DC = 15
"""Largest number of bits that libjpeg accepts of a DC difference."""
_ALL_COEFFICIENTS = bytes((0, 63, 0))
"""Spectral selection and successive approximation of a sequential scan (T.81, B.2.3)."""


class HuffmanTable(NamedTuple):
    """A Huffman table as its segment has it (T.81, B.2.4.2).

    Attributes:
        counts: Number of codes of 1…16 bits, 16 bytes.
        values: What the codes mean, at most 256 bytes.
    """

    counts: bytes
    values: bytes


class HuffmanScan(NamedTuple):
    """Coding of a scan of all components.

    Attributes:
        dc: One or two tables for DC differences.
        ac: One or two tables for AC coefficients.
        pattern: For each block of a unit (MCU) in order, the indices of its tables in `dc` and `ac`.
        blocks: Number of blocks that the picture needs.
        interval: Blocks from one restart marker to the next; 0: there are none.
    """

    dc: tuple[HuffmanTable, ...]
    ac: tuple[HuffmanTable, ...]
    pattern: tuple[tuple[int, int], ...]
    blocks: int
    interval: int


@lru_cache(maxsize=256)
def read_huffman_scan(header: JpegHeader) -> HuffmanScan | None:
    """Reads how a scan is coded.

    Args:
        header: Of the JPEG; its scan has all components.

    Returns:
        None if a table is damaged or missing (motion JPEG), if there are more than two of a kind, or if the scan's
        header does not fit the frame's: a decoder is then free to read the data in another way.
    """
    count = len(header.components)
    body = header.scan_header
    if len(body) != 1 + 2 * count + len(_ALL_COEFFICIENTS) or body[0] != count or body[-3:] != _ALL_COEFFICIENTS:
        return None
    if bytes(name for name, _, _ in header.components) != body[1 : 1 + 2 * count : 2]:
        return None
    tables = _read_tables(header.tables)
    if tables is None:
        return None
    used: tuple[list[HuffmanTable], list[HuffmanTable]] = ([], [])
    pattern: list[tuple[int, int]] = []
    for (_, across, down), selectors in zip(header.components, body[2 : 2 + 2 * count : 2], strict=True):
        dc, ac = tables.get((_DC, selectors >> 4)), tables.get((_AC, selectors & 15))
        if dc is None or ac is None:
            return None
        pattern += [(_place(dc, used[_DC]), _place(ac, used[_AC]))] * (across * down if count > 1 else 1)
    if max(map(len, used)) > _TABLES_OF_KIND or len(pattern) > _MOST_BLOCKS:
        return None
    units, blocks = units_of(header.width, header.height, header.components)
    interval = header.restart_interval * blocks
    return HuffmanScan(tuple(used[_DC]), tuple(used[_AC]), tuple(pattern), units * blocks, interval)


def _place(table: HuffmanTable, among: list[HuffmanTable]) -> int:
    """Returns the index of a table, which is appended if no equal one is there."""
    if table not in among:
        among.append(table)
    return among.index(table)


def _read_tables(segments: tuple[bytes, ...]) -> dict[tuple[int, int], HuffmanTable] | None:
    """Returns the tables by kind and number, of each the last one; None if one is damaged."""
    tables: dict[tuple[int, int], HuffmanTable] = {}
    for segment in segments:
        at = 0
        while at < len(segment):
            kind, number = segment[at] >> 4, segment[at] & 15
            counts = segment[at + 1 : at + 1 + _LENGTHS]
            at += 1 + _LENGTHS
            values = segment[at : at + sum(counts)]
            at += len(values)
            table = HuffmanTable(counts, values)
            if kind > _AC or number > _LARGEST_NUMBER or not _is_valid(table):
                return None
            if kind == _DC and max(values, default=0) > _LARGEST_DC:
                return None
            tables[kind, number] = table
    return tables


def _is_valid(table: HuffmanTable) -> bool:
    """Returns whether the codes of each length fit behind the shorter ones, and none is all ones (T.81, C.2)."""
    if len(table.counts) != _LENGTHS or len(table.values) != sum(table.counts) or len(table.values) > 256:
        return False
    code = 0
    for length, count in enumerate(table.counts, 1):
        code += count
        if count and code >= 1 << length:
            return False
        code *= 2
    return True
