"""Outline: the top-level fields of an ONNX file, walked without reading what is in them."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from io import RawIOBase

MAX_MODEL_BYTES = 2**31 - 1
"""Largest ONNX model: it is one protobuf message, which has at most 2 GiB - 1 byte (protobuf.dev, Limits)."""

IR_VERSION, GRAPH = 1, 7
"""Field numbers of `ModelProto` that tell it from other protobuf messages."""

# Field number of ModelProto → wire type (onnx/onnx.proto): ir_version, producer_name, producer_version, domain,
# model_version, doc_string, graph, opset_import, metadata_props, training_info, functions, configuration.
_WIRE_TYPES = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}

_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_MAX_VARINT = 10  # bytes
_MAX_FIELDS = 20_000
"""Fields that are walked; exporters that keep functions write one field for each."""


@dataclass(frozen=True)
class Outline:
    """The top-level fields of a protobuf message, up to the first that an ONNX model cannot have.

    Attributes:
        fields: Numbers of the fields that are whole; fields of later versions of ONNX may be among them.
        missing_bytes: Bytes that the last field has beyond the end of the file; 0 if it ends where it should.
        garbled_at: Offset of the first field that an ONNX model cannot have; None if there is none.
    """

    fields: Set[int]
    missing_bytes: int = 0
    garbled_at: int | None = None

    @property
    def like_onnx(self) -> bool:
        """Whether the file begins as an ONNX model does, whole or damaged."""
        return not self.fields.isdisjoint({IR_VERSION, GRAPH})


def read_outline(file: RawIOBase, size: int) -> Outline:
    """Walks the fields of a file; reads 20 bytes of each and skips the rest.

    Args:
        file: The file, unbuffered and seekable.
        size: Its size in bytes.
    """
    fields: set[int] = set()
    position = 0
    for _ in range(_MAX_FIELDS):
        if position >= size:
            break
        file.seek(position)
        head = file.read(2 * _MAX_VARINT) or b""
        key, used = _varint(head, 0)
        number, wire = key >> 3, key & 7
        if key < 8 or _WIRE_TYPES.get(number, wire) != wire:
            return Outline(fields, garbled_at=position)
        if wire == _VARINT:
            value, used = _varint(head, used)
            length = 0
        elif wire == _LENGTH:
            value, used = _varint(head, used)
            length = value
        elif wire in (_FIXED_32, _FIXED_64):
            value, length = 0, 4 if wire == _FIXED_32 else 8
        else:  # groups, which ONNX never had, and numbers without a meaning
            return Outline(fields, garbled_at=position)
        if value < 0:
            return Outline(fields, garbled_at=position) if used else Outline(fields, missing_bytes=1)
        position += used + length
        if position > size:
            return Outline(fields, missing_bytes=position - size)
        fields.add(number)
    return Outline(fields)


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Returns a base-128 number and the offset after it; (-1, offset) if it is too long, (-1, 0) if the data ends."""
    value = 0
    for index in range(start, min(len(data), start + _MAX_VARINT)):
        value |= (data[index] & 0x7F) << 7 * (index - start)
        if data[index] < 0x80:
            return value, index + 1
    return -1, 0 if len(data) < start + _MAX_VARINT else start + _MAX_VARINT
