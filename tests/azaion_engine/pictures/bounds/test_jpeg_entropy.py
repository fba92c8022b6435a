"""JPEG entropy: the shortest scan, and restart markers in their order."""

from __future__ import annotations

import re

import numpy as np
import pytest

from azaion_engine.pictures.bounds import jpeg_entropy
from azaion_engine.pictures.bounds.jpeg_entropy import (
    has_all_restarts,
    has_blank,
    is_without_markers,
    last_restart_fits,
    least_scan_bytes,
)

GREY, COLOUR = [(1, 1, 1)], [(1, 2, 2), (2, 1, 1), (3, 1, 1)]
INTERVAL, SIZE = 2, (64, 40)
"""Two of 40 blocks to an interval: 19 markers."""


def scan(numbers: list[int]) -> bytes:
    return b"".join(b"\x12\xff\x00\x34" + bytes((0xFF, 0xD0 + number)) for number in numbers) + b"\x56\xff\x00"


def both(numbers: list[int]) -> tuple[bool, bool]:
    data = scan(numbers)
    arguments = (data, 0, len(data), INTERVAL, SIZE, GREY)
    return has_all_restarts(*arguments), last_restart_fits(*arguments)


@pytest.mark.parametrize(
    ("size", "components", "blocks"),
    [((8, 8), GREY, 1), ((9, 8), GREY, 2), ((16, 16), COLOUR, 6), ((17, 16), COLOUR, 12), ((64, 48), [(1, 2, 2)], 48)],
)
def test_the_shortest_scan_has_two_bits_a_block(
    size: tuple[int, int], components: list[tuple[int, int, int]], blocks: int
) -> None:
    assert least_scan_bytes(*size, components) == blocks * 2 // 8


def test_restart_markers_are_counted_and_in_order() -> None:
    whole = [number % 8 for number in range(19)]
    assert both(whole) == (True, True)
    assert both(whole[:-1]) == (False, False)
    assert both(whole[:5] + whole[6:])[0] is False
    assert both([]) == (False, False)


def test_a_scan_that_needs_no_restart_marker_may_have_none() -> None:
    assert last_restart_fits(b"\x12", 0, 1, 40, SIZE, GREY)
    assert has_all_restarts(b"\x12\x13", 0, 2, 40, SIZE, GREY)


def test_only_long_runs_of_zeros_within_the_scan_are_signs() -> None:
    data = b"\1" * 10 + bytes(256) + b"\1"
    assert has_blank(data, 0, len(data))
    assert not has_blank(data, 11, len(data))
    assert not has_blank(data, 0, len(data) - 2)


@pytest.mark.parametrize("before", range(0, 260, 13))
def test_a_blank_is_found_wherever_it_begins(before: int) -> None:
    data = b"a" * before + bytes(256) + b"a" * 300
    assert has_blank(data, 0, len(data))
    assert not has_blank(data.replace(bytes(256), bytes(255)), 0, len(data) - 1)


@pytest.mark.parametrize("second", [0x01, 0x80, 0xD0, 0xD9, 0xFF])
@pytest.mark.parametrize("at", [0, 1, 62, 63, 64, 127, 128, 198])
def test_a_marker_is_found_wherever_it_stands(at: int, second: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg_entropy, "_PIECE_BYTES", 64)  # two of them between pieces
    data = bytearray(b"\xff\x00\xfe\xff\x00" * 42)
    start, end = 5, 205
    assert is_without_markers(bytes(data), start, end)
    data[start + at : start + at + 2] = bytes((0xFF, second))
    assert not is_without_markers(bytes(data), start, end)
    assert is_without_markers(bytes(data), start + at + 3, end) == (data[start + at + 3 : end].find(b"\xff\xff") < 0)


def test_a_scan_may_not_end_within_an_escape_and_what_stands_around_it_is_not_looked_at() -> None:
    assert not is_without_markers(b"\x12\xff\x00\x34", 0, 2)
    assert is_without_markers(b"\xff\xd8\x12\xff\x00\x34\xff\xd9", 2, 6)
    assert is_without_markers(b"\xff\xd9", 1, 1)


def test_markers_are_those_of_a_regular_expression() -> None:
    random = np.random.default_rng(5)
    for length in random.integers(1, 3000, 200):
        data = random.choice(np.array([0, 1, 0xFF], np.uint8), int(length), p=[0.69, 0.3, 0.01]).tobytes()
        for ours in (data, data.replace(b"\xff\x01", b"\xff\x00").replace(b"\xff\xff", b"\xff\x00")):
            expected = re.search(rb"\xff(?!\x00)", ours) is None
            assert is_without_markers(ours, 0, len(ours)) == expected
