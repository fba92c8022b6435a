"""Message parts: bounds what parsing a protobuf message allocates.

A parser allocates about 100 bytes for each submessage and 16 for each text, even if they are empty and took 2 bytes of
the message. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

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
        while at < end:
            parts += 1
            if parts > MOST_PARTS:
                raise InvalidRequestError(f"the message has more than the {MOST_PARTS} fields accepted")
            key, at = _varint(data, at, end)
            wire = key & 7
            if wire == _VARINT:
                _, at = _varint(data, at, end)
                continue
            if wire == _LENGTH:
                length, at = _varint(data, at, end)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:  # groups, which the protocol has not, and numbers of no type
                raise _malformed()
            if length > end - at:
                raise _malformed()
            field = kind.fields_by_number.get(key >> 3) if kind is not None else None
            if field is not None and wire == _LENGTH:
                if field.message_type is not None:
                    waiting.append((field.message_type, at, at + length))
                elif field.cpp_type != field.CPPTYPE_STRING:
                    _check_packed(field, length, most_values)
            at += length


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
