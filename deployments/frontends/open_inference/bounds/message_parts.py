"""Message parts: bounds what parsing a protobuf message allocates, and reads a text of one that is not parsed yet.

A parser allocates about 100 bytes for each submessage and 16 for each text, even if they are empty and took 2 bytes of
the message. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deployments.errors import InvalidRequestError

MOST_PARTS = 10_000
"""Maximum fields of a message and of all messages in it."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def check_parts(descriptor: Any, data: bytes, most_values: int) -> None:
    """Refuses a message of too many parts or numbers before it is parsed; takes a microsecond a part.

    Args:
        descriptor: Protobuf's descriptor of the message.
        data: The message.
        most_values: Maximum numbers of one field.

    Raises:
        InvalidRequestError: Too many parts or numbers, or no valid wire format.
    """
    parts = 0
    waiting: list[tuple[Any, int, int]] = [(descriptor, 0, len(data))]
    while waiting:
        kind, at, end = waiting.pop()
        for number, wire, start, stop in _fields(data, at, end, MOST_PARTS - parts):
            parts += 1
            field = kind.fields_by_number.get(number) if kind is not None else None
            if field is not None and wire == _LENGTH:
                if field.message_type is not None:
                    waiting.append((field.message_type, start, stop))
                elif field.cpp_type != field.CPPTYPE_STRING:
                    _check_packed(field, stop - start, most_values)


def text_of(data: bytes, number: int) -> str:
    """Returns a text of a message that is not parsed: its last one, as a parser does; empty if there is none.

    Args:
        data: The message.
        number: Number of the field.

    Raises:
        InvalidRequestError: As `check_parts`, of the message's own fields.
    """
    text = b""
    for found, wire, start, stop in _fields(data, 0, len(data), MOST_PARTS):
        if found == number and wire == _LENGTH:
            text = data[start:stop]
    return text.decode(errors="replace")


def _fields(data: bytes, at: int, end: int, most: int) -> Iterator[tuple[int, int, int, int]]:
    """Yields number, wire type, begin and end of the content of each field between two offsets."""
    for _ in range(most):
        if at >= end:
            return
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == _VARINT:
            _, stop = _varint(data, at, end)
            length = stop - at
        elif wire == _LENGTH:
            length, at = _varint(data, at, end)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:  # groups, which the protocol has not, and numbers of no type
            raise _malformed()
        if length > end - at:
            raise _malformed()
        yield key >> 3, wire, at, at + length
        at += length
    if at < end:
        raise InvalidRequestError(f"the message has more than the {MOST_PARTS} fields accepted")


def _check_packed(field: Any, length: int, most_values: int) -> None:
    # A number of UINT8 takes up to two bytes as a varint.
    if length > most_values * (4 if field.cpp_type == field.CPPTYPE_FLOAT else 2):
        raise InvalidRequestError(f"{field.name} has more than the {most_values} numbers that the model takes")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(at, min(at + _LONGEST_VARINT, end)):
        byte = data[index]
        value |= (byte & 0x7F) << 7 * (index - at)
        if byte < 0x80:
            return value, index + 1
    raise _malformed()


def _malformed() -> InvalidRequestError:
    return InvalidRequestError("the message is malformed: it is no message of this protocol, or cut off")
