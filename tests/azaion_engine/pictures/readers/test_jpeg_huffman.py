"""HuffmanScan: the coding of a scan is read from its header, and what leaves it open is told."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.readers.jpeg.header import JpegHeader, read_jpeg_header
from azaion_engine.pictures.readers.jpeg.huffman import HuffmanScan, read_huffman_scan
from tests.azaion_engine.pictures.picture_files import encode

PIXELS = np.random.default_rng(4).integers(0, 256, (50, 70, 3), np.uint8)
JPEG = encode(PIXELS, "JPEG")
TABLES, SCAN = b"\xff\xc4", b"\xff\xda"


def header_of(data: bytes | memoryview) -> JpegHeader:
    header = read_jpeg_header(data)
    assert header is not None
    return header


def read(data: bytes) -> HuffmanScan | None:
    return read_huffman_scan(header_of(data))


def segment(body: bytes) -> bytes:
    return TABLES + (len(body) + 2).to_bytes(2, "big") + body


def with_tables(*bodies: bytes) -> bytes:
    """Replaces all tables."""
    first, scan = JPEG.index(TABLES), JPEG.index(SCAN)
    return JPEG[:first] + b"".join(map(segment, bodies)) + JPEG[scan:]


@pytest.mark.parametrize(
    ("options", "pattern", "blocks"),
    [
        ({"subsampling": 2}, ((0, 0),) * 4 + ((1, 1),) * 2, 5 * 4 * 6),
        ({"subsampling": 1}, ((0, 0),) * 2 + ((1, 1),) * 2, 5 * 7 * 4),
        ({"subsampling": 0}, ((0, 0), (1, 1), (1, 1)), 9 * 7 * 3),
        ({"subsampling": 0, "optimize": True}, ((0, 0), (1, 1), (1, 1)), 9 * 7 * 3),
        ({"restart_marker_blocks": 3}, ((0, 0),) * 4 + ((1, 1),) * 2, 5 * 4 * 6),
    ],
)
def test_blocks_and_their_tables_follow_the_sampling(
    options: dict[str, int], pattern: tuple[tuple[int, int], ...], blocks: int
) -> None:
    found = read(encode(PIXELS, "JPEG", **options))
    assert found is not None
    assert (found.pattern, found.blocks, found.interval) == (
        pattern,
        blocks,
        options.get("restart_marker_blocks", 0) * 6,
    )
    assert [len(found.dc), len(found.ac)] == [2, 2]


def test_a_grey_one_has_one_table_of_each_kind_and_no_units_of_several_blocks() -> None:
    factors = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    for data in (
        encode(Image.fromarray(PIXELS[..., 0]), "JPEG"),
        bytes(cv2.imencode(".jpg", PIXELS[..., 0], factors)[1]),
    ):
        found = read(data)
        assert found is not None
        assert (len(found.dc), len(found.ac), found.pattern, found.blocks) == (1, 1, ((0, 0),), 9 * 7)


def test_the_tables_are_those_of_the_file() -> None:
    found = read(JPEG)
    assert found is not None
    bodies = header_of(JPEG).tables
    assert b"".join(
        bytes([kind << 4 | number]) + table.counts + table.values
        for number in (0, 1)
        for kind, table in ((0, found.dc[number]), (1, found.ac[number]))
    ) == b"".join(bodies)
    assert read(with_tables(b"".join(bodies))) == found, "all in one segment"
    assert read(with_tables(b"\x00" + bytes([1, *[0] * 15]) + b"\x05", *bodies)) == found, (
        "the last one of a number counts"
    )


def test_equal_tables_are_one() -> None:
    dc, ac, *_ = header_of(JPEG).tables
    found = read(with_tables(dc, ac, b"\x01" + dc[1:], b"\x11" + ac[1:]))
    assert found is not None
    assert (len(found.dc), len(found.ac), set(found.pattern)) == (1, 1, {(0, 0)})


SPOILED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "no table": lambda tables: [],
    "no AC table of chroma": lambda tables: tables[:3],
    "a table without its last value": lambda tables: [tables[0][:-1], *tables[1:]],
    "a byte behind a table": lambda tables: [tables[0] + b"\0", *tables[1:]],
    "no counts": lambda tables: [*tables, b"\0"],
    "a third kind": lambda tables: [*tables, b"\x20" + bytes(16)],
    "a fifth number": lambda tables: [*tables, b"\x04" + bytes(16)],
    "255 codes of one bit": lambda tables: [tables[0][:1] + b"\xff" + tables[0][2:], *tables[1:]],
    "a code of ones": lambda tables: [b"\0" + bytes([2, *[0] * 15]) + b"\0\1", *tables[1:]],
    "more codes than there are values": lambda tables: [*tables, b"\x13" + bytes([*[0] * 14, 200, 200]) + bytes(400)],
    "a difference of 16 bits": lambda tables: [b"\0" + bytes([1, *[0] * 15]) + b"\x10", *tables[1:]],
}


@pytest.mark.parametrize("name", SPOILED)
def test_tables_that_are_damaged_or_missing_leave_the_jpeg_to_the_cpu(name: str) -> None:
    data = with_tables(*SPOILED[name]([*header_of(JPEG).tables]))
    assert read(data) is None
    assert EncodedPicture(data).read_hardware_header() is None


@pytest.mark.parametrize(
    ("place", "value"), [(4, 2), (5, 9), (6, 0x22), (8, 0x12), (-3, 1), (-2, 62), (-1, 0x10)], ids=str
)
def test_a_scan_header_that_does_not_fit_leaves_the_jpeg_to_the_cpu(place: int, value: int) -> None:
    """Number of components, name and tables of the first, tables of the second, the constants of a sequential scan."""
    begin = JPEG.index(SCAN)
    at = begin + place if place > 0 else header_of(JPEG).scan + place
    data = JPEG[:at] + bytes([value]) + JPEG[at + 1 :]
    assert read(data) is None
    assert EncodedPicture(data).read_hardware_header() is None


def test_three_tables_of_a_kind_are_too_many() -> None:
    dc, ac, *others = header_of(JPEG).tables
    other = b"\x02" + bytes([0, 1, *[0] * 14]) + b"\x01"
    data = with_tables(dc, ac, *others, other)
    last = data.index(SCAN) + 10
    assert read(data) is not None
    assert read(data[:last] + b"\x21" + data[last + 1 :]) is None


def test_tables_and_scan_headers_that_are_too_long_are_not_kept() -> None:
    bodies = header_of(JPEG).tables
    assert read(with_tables(*bodies * 9)) is not None
    for many in (bodies * 100, (bytes(60000), *bodies)):
        data = with_tables(*many)
        assert header_of(data).tables == ()
        assert read(data) is None
        assert EncodedPicture(data).read_hardware_header() is None
    begin, scan = JPEG.index(SCAN), header_of(JPEG).scan
    data = JPEG[:begin] + SCAN + (60000).to_bytes(2, "big") + JPEG[begin + 4 : scan] + bytes(59988) + JPEG[scan:]
    assert len(header_of(data).scan_header) == 16
    assert read(data) is None


def test_a_view_has_the_header_of_its_bytes() -> None:
    for data in (JPEG, JPEG[:2] + b"\xff\xfe\x20\x02" + bytes(0x2000) + JPEG[2:]):
        assert header_of(memoryview(data)) == header_of(data)
        assert isinstance(header_of(memoryview(data)).scan_header, bytes)
    assert read_jpeg_header(memoryview(b"no picture")) is None
