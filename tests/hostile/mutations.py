"""Mutations of encoded pictures; the same seed gives the same pictures."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

_TELLING = (b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")
"""Values at which sizes and counts overflow."""
_SIGNATURE_BYTES = 12


def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Returns a picture with one to four mutations.

    Args:
        data: What to mutate.
        other: A picture from which pieces are taken.
        chance: Source of all choices.
    """
    for _ in range(chance.randint(1, 4)):
        data = chance.choice(_MUTATIONS)(data, other, chance)
    return _with_checksums(data) if chance.random() < 0.7 else data


def _at(data: bytes, chance: random.Random) -> int:
    """Chooses a position; headers, where most of a decoder's decisions are made, half of the time."""
    most = min(len(data), 400) if chance.random() < 0.5 else len(data)
    return chance.randrange(_SIGNATURE_BYTES, max(most, _SIGNATURE_BYTES + 1))


def _replace_bytes(data: bytes, other: bytes, chance: random.Random) -> bytes:
    edited = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = _at(data, chance)
        if at < len(edited):
            edited[at] = chance.randrange(256)
    return bytes(edited)


def _put_telling(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at, value = _at(data, chance), chance.choice(_TELLING)
    return data[:at] + value + data[at + len(value) :]


def _cut(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: _at(data, chance)]


def _remove(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at = _at(data, chance)
    return data[:at] + data[at + chance.choice((1, 2, 4, 12, 100)) :]


def _repeat(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at, length = _at(data, chance), chance.choice((1, 4, 12, 100, 1000))
    return data[:at] + data[at : at + length] * chance.choice((2, 3, 50)) + data[at + length :]


def _splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at, start = _at(data, chance), _at(other, chance)
    return data[:at] + other[start : start + chance.choice((4, 16, 200, 5000))] + data[at:]


def _change_number(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at = _at(data, chance)
    kind = chance.choice(("<H", ">H", "<I", ">I"))
    if at + struct.calcsize(kind) > len(data):
        return data
    [number] = struct.unpack_from(kind, data, at)
    limit = 256 ** struct.calcsize(kind)
    number = (
        chance.choice((number + 1, number - 1, number * 2, number * 256, number ^ 1 << chance.randrange(16))) % limit
    )
    return data[:at] + struct.pack(kind, number) + data[at + struct.calcsize(kind) :]


_MUTATIONS: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _replace_bytes,
    _put_telling,
    _cut,
    _remove,
    _repeat,
    _splice,
    _change_number,
    _change_number,
)


def _with_checksums(data: bytes) -> bytes:
    """Makes a PNG's checksums right, without which its decoder looks no further."""
    if not data.startswith(b"\x89PNG"):
        return data
    edited, at = bytearray(data), 8
    while at + 12 <= len(edited):
        [length] = struct.unpack_from(">I", edited, at)
        if at + 12 + length > len(edited):
            break
        struct.pack_into(">I", edited, at + 8 + length, zlib.crc32(edited[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(edited)
