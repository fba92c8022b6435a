"""JSON numbers: takes the arrays of numbers out of a JSON text, without an object for each number.

A JSON parser makes a Python object of 24 to 32 bytes of each number, in one call that holds the interpreter: 60 MB of
`0,0,0…` take 2 GB and stop every request for seconds. Here a text is read in pieces of `_PIECE` bytes, and reading ends
as soon as there are more numbers than the model's input has elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import orjson
from numpy.typing import NDArray

from azaion_engine.errors import quote
from deployments.errors import InvalidRequestError

NUMBERS = "\0numbers"
"""Key that stands in the remaining text for `data`; its value is the index of the array."""

MOST_PARTS = 10_000
"""Maximum arrays, objects and elements in the remaining text."""

_PIECE = 256 * 1024
_MOST_ELEMENT = 64 * 1024
"""Maximum characters of a number with the spaces around it."""
_MOST_DATA = 100
"""Maximum texts `data` in a JSON text: each is looked at, with the array behind it; the models have one input."""
_DATA = b'"data"'
_VALUE = re.compile(rb"\s{0,1000}:\s{0,1000}(?=\[)")
"""What stands between the key `data` and its array."""
_NUMERIC, _SPACES = b"[]0123456789eE+-., \t\r\n", b" \t\r\n"
_STEPS = bytes({ord("["): 1, ord("]"): 255}.get(code, 0) for code in range(256))
"""Translates a bracket to the step of the depth, 1 or -1 as int8, and all else to 0."""
_KINDS = bytes(code if code in b"[]," else ord("n") for code in range(256))
"""Translates the parts of numbers to `n`."""
_MISPLACED = (b"][", b"]n", b"n[", b"[,", b",,", b",]")
"""What may not follow each other, spaces left out."""
_IS_PART = np.zeros(256, np.bool_)
_IS_PART[list(b",[{")] = True


def take_numbers(text: bytes, most: int) -> tuple[bytes, list[NDArray[np.float32]]]:
    """Takes every array of numbers out of the members `data`; nested arrays become flat.

    Args:
        text: JSON; what is malformed outside of the arrays stays, for the parser to refuse.
        most: Maximum numbers of all arrays together.

    Returns:
        The text with `NUMBERS: index` in the place of each such member, and the arrays, float32.

    Raises:
        InvalidRequestError: More numbers than `most`, an array that is no JSON, more than `_MOST_DATA` texts `data`, or
            more than `MOST_PARTS` other parts.
    """
    left: list[bytes] = []
    arrays: list[NDArray[np.float32]] = []
    at, remaining = 0, most
    for key, start in _data_members(text):
        if (
            key < at or (end := _end_of_array(text, start, remaining, most)) is None
        ):  # it has other elements than numbers
            continue
        left += [text[at:key], f'"\\u0000numbers":{len(arrays)}'.encode()]
        arrays.append(_numbers(text, start, end, remaining, most))
        remaining -= len(arrays[-1])
        at = end
    rest = b"".join([*left, text[at:]]) if arrays else text
    _check_parts(rest)
    return rest, arrays


def _data_members(text: bytes) -> Iterator[tuple[int, int]]:
    """Yields (offset of the key, offset of the array) of each member `data` that is an array."""
    found = 0
    for piece in range(0, len(text), _PIECE):
        at = piece
        while (at := text.find(_DATA, at, min(piece + _PIECE + len(_DATA) - 1, len(text)))) >= 0:
            found += 1
            if found > _MOST_DATA:
                raise InvalidRequestError(f'the JSON has "data" more than the {_MOST_DATA} times accepted')
            # In valid JSON, these quotes are a key's: inside a string, quotes follow a backslash.
            if text[at - 1 : at] != b"\\" and (value := _VALUE.match(text, at + len(_DATA))):
                yield at, value.end()
            at += len(_DATA)


def _check_parts(text: bytes) -> None:
    parts = 0
    for at in range(0, len(text), _PIECE):
        parts += int(_IS_PART[np.frombuffer(text, np.uint8, min(_PIECE, len(text) - at), at)].sum())
        if parts > MOST_PARTS:
            raise InvalidRequestError(f"the JSON has more than the {MOST_PARTS} arrays, objects and elements accepted")


def _end_of_array(text: bytes, start: int, left: int, most: int) -> int | None:
    """Returns where the array that begins at a position ends; None if it has other elements, or no end.

    Raises:
        InvalidRequestError: It has more than `left` elements, or numbers that JSON has not.
    """
    depth = 0
    for at in range(start, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        closed: int | None = None
        if b"]" in piece:
            depths = np.cumsum(np.frombuffer(piece.translate(_STEPS), np.int8), dtype=np.int32) + depth
            depth = int(depths[-1])
            if ends := np.flatnonzero(depths == 0)[:1].tolist():
                closed = ends[0] + 1
                piece = piece[:closed]
        else:
            depth += piece.count(b"[")
        if others := piece.translate(None, _NUMERIC):
            if others[:1] in (b"N", b"I"):
                raise InvalidRequestError("`data` has NaN or Infinity: expected finite numbers, as JSON has them")
            return None
        if closed is not None:
            return at + closed
        left -= piece.count(b",")
        if left < 0:
            raise _too_many(most)
    return None


def _numbers(text: bytes, start: int, end: int, left: int, most: int) -> NDArray[np.float32]:
    parts: list[NDArray[np.float32]] = []
    for piece in _pieces(text, start, end):
        flat = piece.translate(None, b"[]")
        if len(flat) < len(piece):
            kinds = b",%b," % piece.translate(_KINDS, _SPACES)  # it is between commas, or is where the array ends
            if any(pair in kinds for pair in _MISPLACED):
                raise InvalidRequestError(f"the body is no JSON: an array is malformed near {quote(piece[:80])}")
            if not flat.strip(_SPACES + b","):  # empty arrays
                continue
        try:
            values = np.array(orjson.loads(b"[%b]" % flat), np.float64)
        except ValueError as error:
            raise InvalidRequestError(f"the body is no JSON: {error} in {quote(piece[:80])}") from error
        if not len(values):
            raise InvalidRequestError(f"the body is no JSON: an element of `data` is missing near {quote(piece[:80])}")
        left -= len(values)
        if left < 0:
            raise _too_many(most)
        with np.errstate(over="ignore"):  # infinity, which is refused where the tensor is used
            parts.append(values.astype(np.float32))
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _pieces(text: bytes, start: int, end: int) -> Iterator[bytes]:
    """Splits an array at commas into pieces of about `_PIECE` bytes, without these commas."""
    while start < end:
        comma = (
            text.find(b",", start + _PIECE, min(start + _PIECE + _MOST_ELEMENT, end)) if end - start > _PIECE else -1
        )
        stop = end if comma < 0 else comma
        if stop - start > _PIECE + _MOST_ELEMENT:
            raise InvalidRequestError(f"an element of `data` has more than {_MOST_ELEMENT} characters")
        yield text[start:stop]
        start = stop + 1


def _too_many(most: int) -> InvalidRequestError:
    return InvalidRequestError(f"`data` has more than {most} numbers, which is the most that the model takes")
