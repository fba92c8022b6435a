"""Hostile requests of the inference protocol: bodies that would cost much more than their size.

For a model of one picture of 1280², whose input has 4,915,200 numbers.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol

MODEL, RAW = "stand-in", "stand-in_raw"
_MIB = 2**20
_Request = protocol.ModelInferRequest
_Input = _Request.InferInputTensor


class Attack(NamedTuple):
    """One request over HTTP.

    Attributes:
        model: Whom it is sent to.
        body: Makes the body.
        headers: Its headers.
        statuses: What may be answered.
    """

    model: str
    body: Callable[[], bytes]
    headers: dict[str, str]
    statuses: tuple[int, ...] = (400, 413)


def _gzipped(start: bytes, piece: bytes, size: int, end: bytes = b"") -> Callable[[], bytes]:
    """Returns what makes a gzip of `start`, `piece` until there are `size` bytes, and `end`."""

    def body() -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        block = piece * (_MIB // len(piece))
        blocks: Iterator[bytes] = (packer.compress(block) for _ in range(size // len(block)))
        return b"".join([packer.compress(start), *blocks, packer.compress(end), packer.flush()])

    return body


_GZIP = {"Content-Encoding": "gzip"}
_DATA = b'{"inputs":[{"name":"images","datatype":"FP32","shape":[1,3,1280,1280],"data":['
_PICTURES = b'{"inputs":[{"name":"picture","datatype":"BYTES","shape":[1],"data":['
_EMPTY_PICTURES = (
    b'{"inputs":[{"name":"picture","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":%d}}]}'
    % (100 * _MIB)
)

ATTACKS = {
    "gzip of 60 MB of zeros as numbers": Attack(RAW, _gzipped(_DATA, b"0,", 60 * _MIB, b"0]}]}"), _GZIP),
    "gzip of 10 GB": Attack(RAW, lambda: gzip.compress(gzip.decompress(_gzipped(b"", b"0", 100 * _MIB)()) * 3), _GZIP),
    "nested arrays": Attack(RAW, _gzipped(_DATA, b"[", 60 * _MIB), _GZIP),
    "empty arrays": Attack(RAW, _gzipped(_DATA, b"[],", 60 * _MIB), _GZIP),
    "arrays of text": Attack(MODEL, _gzipped(_PICTURES, b'"",', 100 * _MIB, b'""]}]}'), _GZIP),
    "numbers as pictures": Attack(MODEL, _gzipped(_PICTURES, b"0,", 100 * _MIB, b"0]}]}"), _GZIP),
    "objects": Attack(MODEL, _gzipped(b'{"inputs":[', b"{},", 100 * _MIB, b"{}]}"), _GZIP),
    "spaces": Attack(MODEL, _gzipped(b"{", b" ", 120 * _MIB, b"}"), _GZIP),
    "one text": Attack(MODEL, _gzipped(_PICTURES + b'"', b"A", 120 * _MIB, b'"]}]}'), _GZIP),
    "many arrays": Attack(RAW, _gzipped(b'{"inputs":[', b'{"data":[0]},', 60 * _MIB, b"{}]}"), _GZIP),
    "many arrays of text": Attack(MODEL, lambda: b'{"inputs":[%b1]}' % (b'"data":["x"],' * 40_000), {}),
    "many keys": Attack(MODEL, _gzipped(b'{"inputs":[', b'"data"', 120 * _MIB, b"]}"), _GZIP),
    "exponents": Attack(RAW, lambda: _DATA + b"1e400," * 4_000_000 + b"0]}]}", {}),
    "digits": Attack(RAW, _gzipped(_DATA, b"1", 60 * _MIB, b"]}]}"), _GZIP),
    "binary pictures": Attack(
        MODEL, _gzipped(b"{}", b"\0", 900 * _MIB), {**_GZIP, "Inference-Header-Content-Length": "2"}
    ),
    "empty pictures": Attack(
        MODEL,
        _gzipped(_EMPTY_PICTURES, b"\0", 100 * _MIB),
        {**_GZIP, "Inference-Header-Content-Length": str(len(_EMPTY_PICTURES))},
    ),
    "a name of 1 MB": Attack(
        RAW, lambda: b'{"inputs":[{"name":"%b","datatype":"FP32","shape":[1],"data":[0]}]}' % (b"x" * _MIB), {}
    ),
    "a shape of 9,000 dimensions": Attack(
        RAW,
        lambda: b'{"inputs":[{"name":"images","datatype":"FP32","shape":[%b],"data":[0]}]}' % b",".join([b"9"] * 9000),
        {},
    ),
}
"""Over HTTP, by name."""

MESSAGES: dict[str, Callable[[], bytes]] = {
    "no message": lambda: b"\xff" * 1000,
    "cut off": lambda: _Request(model_name=RAW, raw_input_contents=[b"x" * 1000]).SerializeToString()[:-10],
    "a name of 1 MB": lambda: _Request(model_name="x" * _MIB).SerializeToString(),
    "an input's name of 1 MB": lambda: _Request(model_name=RAW, inputs=[_Input(name="x" * _MIB)]).SerializeToString(),
    "300 MB": lambda: _Request(model_name=RAW, raw_input_contents=[bytes(300 * _MIB)]).SerializeToString(),
    "empty inputs": lambda: b"\x2a\0" * (60 * _MIB),  # field 5, no bytes
    "empty pictures": lambda: _Request(
        model_name=MODEL,
        inputs=[_Input(name="picture", datatype="BYTES", shape=[1])],
        raw_input_contents=[bytes(100 * _MIB)],
    ).SerializeToString(),
    "classes without end": lambda: _Request(
        model_name=MODEL,
        inputs=[_Input(name="picture", datatype="BYTES", shape=[1], contents={"bytes_contents": [b"x"]})],
        parameters={"classes": protocol.InferParameter(string_param="00," * (7 * _MIB))},
    ).SerializeToString(),
    "empty texts": lambda: b"\x3a\0" * (60 * _MIB),  # field 7, no bytes
    "small numbers": lambda: _numbers(120 * _MIB),
    "other numbers than the model's": lambda: _Request(
        model_name=RAW,
        inputs=[_Input(name="images", datatype="FP32", shape=[1, 3, 1280, 1280], contents={"int64_contents": [1] * 9})],
    ).SerializeToString(),
}
"""Over gRPC, by name; each must be INVALID_ARGUMENT or, for a model's name, NOT_FOUND."""


def _numbers(size: int) -> bytes:
    """Returns a message with as many numbers of one byte each, packed."""
    packed = b"\x1a" + _varint(size) + bytes(size)  # int64_contents
    contents = b"\x2a" + _varint(len(packed)) + packed
    return b"\x0a\x0cstand-in_raw\x2a" + _varint(len(contents)) + contents


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
