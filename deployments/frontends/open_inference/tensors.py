"""Tensors of the protocol: NumPy arrays ↔ the JSON and the binary form of each datatype that the models use."""

from __future__ import annotations

import math
import struct
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import QUOTED, quote
from deployments.errors import InvalidRequestError

NUMPY: dict[str, np.dtype[Any]] = {
    "INT32": np.dtype("<i4"),
    "UINT8": np.dtype("u1"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "BYTES": np.dtype(object),
}
"""The protocol's datatypes that the two models use; it defines more."""

WORTH_A_THREAD = 64 * 1024
"""Size in bytes from which a tensor is converted in a thread, not on the event loop."""

_PART = 64 * 1024
"""Numbers converted at a time."""

_LENGTH = struct.Struct("<I")  # length before each element of a binary BYTES tensor


@dataclass(frozen=True)
class InputTensor:
    """One input as received; decoded only after its model has checked name, datatype and shape.

    Attributes:
        name: Name of the model's input.
        datatype: The protocol's name, e.g. `FP32`.
        shape: Dimensions.
        content: The binary form as bytes, numbers as a flat array or as a flat sequence that protobuf read, or what
            JSON has in their place; for BYTES, texts or bytes, flat or nested.
        base64: Whether texts in `content` are base64, since JSON has no other way to carry a picture.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes | memoryview | NDArray[np.float32] | Sequence[Any]
    base64: bool = False

    @property
    def costly(self) -> bool:
        """Whether decoding takes longer than the switch to a thread."""
        return not isinstance(self.content, (bytes, memoryview)) or len(self.content) > WORTH_A_THREAD

    def array(self) -> NDArray[Any]:
        """Decodes the tensor; numbers in binary form become a view, without a copy.

        Returns:
            An array of `shape`; BYTES as objects of type `bytes`.

        Raises:
            InvalidRequestError: The content does not fit datatype and shape, or a float is infinite or no number.
        """
        if self.datatype == "BYTES":
            elements = self._elements()
            self._check_size(len(elements), math.prod(self.shape), "elements")
            flat = np.empty(len(elements), object)
            flat[:] = elements
        elif isinstance(self.content, (bytes, memoryview)):
            dtype = NUMPY[self.datatype]
            self._check_size(len(self.content), math.prod(self.shape) * dtype.itemsize, "bytes")
            flat = np.frombuffer(self.content, dtype)
        elif isinstance(self.content, list):
            flat = self._converted(self.content).ravel()
            self._check_size(len(flat), math.prod(self.shape), "elements")
        else:
            self._check_size(len(self.content), math.prod(self.shape), "elements")
            # In parts, because each conversion holds the interpreter.
            starts = range(0, len(self.content), _PART)
            parts = [self._converted(self.content[start : start + _PART]) for start in starts]
            flat = np.concatenate(parts) if parts else np.empty(0, NUMPY[self.datatype])
        self._check_finite(flat)
        return flat.reshape(self.shape)

    def _converted(self, values: Any) -> NDArray[Any]:
        dtype = NUMPY[self.datatype]
        try:
            with np.errstate(all="ignore"):
                array: NDArray[Any] = np.array(values, dtype)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidRequestError(
                f"input {quote(self.name)}: the data is no {self.datatype}: {str(error)[:QUOTED]}"
            ) from error
        if dtype.kind in "iu" and isinstance(values, np.ndarray) and not np.array_equal(array, values):
            raise InvalidRequestError(f"input {quote(self.name)}: the data is no {self.datatype}")
        return array

    def _check_finite(self, flat: NDArray[Any]) -> None:
        if flat.dtype.kind == "f" and not np.isfinite(flat).all():
            at = int(np.argmin(np.isfinite(flat)))
            raise InvalidRequestError(
                f"input {quote(self.name)}: expected finite numbers in {self.datatype}, given {flat[at]} at index {at}"
            )

    def _elements(self) -> list[bytes]:
        if isinstance(self.content, (bytes, memoryview)):
            try:
                return unpack_bytes(self.content, math.prod(self.shape))
            except InvalidRequestError as error:
                raise InvalidRequestError(f"input {quote(self.name)}: {error}") from error
        return [self._element(value) for value in _flat(self.content)]

    def _element(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise InvalidRequestError(
                f"input {quote(self.name)}: expected text for BYTES, given {type(value).__name__}"
            )
        if not self.base64:
            return value.encode()
        try:
            return b64decode(value, validate=True)
        except ValueError as error:  # binascii.Error, or text that is not ASCII
            raise InvalidRequestError(f"input {quote(self.name)}: an element is no base64: {error}") from error

    def _check_size(self, given: int, expected: int, unit: str) -> None:
        if given != expected:
            wanted = f"{self.datatype} {quote(list(self.shape))} needs {expected} {unit}"
            raise InvalidRequestError(f"input {quote(self.name)}: {wanted}, given {given}")


@dataclass(frozen=True)
class OutputTensor:
    """One output.

    Attributes:
        name: Its name.
        datatype: The protocol's name, e.g. `FP32`.
        array: The values; BYTES as objects of type `bytes`, UTF-8.
    """

    name: str
    datatype: str
    array: NDArray[Any]

    @property
    def shape(self) -> list[int]:
        """Dimensions."""
        return list(self.array.shape)

    def to_bytes(self) -> bytes:
        """Returns the binary form: little-endian, row-major; each element of BYTES after its length in 4 bytes."""
        if self.datatype == "BYTES":
            return pack_bytes(self.array.ravel().tolist())
        return np.ascontiguousarray(self.array, NUMPY[self.datatype]).tobytes()

    def to_list(self) -> list[Any]:
        """Returns the JSON form: all values in row-major order."""
        flat = self.array.ravel().tolist()
        return [element.decode() for element in flat] if self.datatype == "BYTES" else flat


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """Joins elements into the binary form of a BYTES tensor."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def unpack_bytes(data: bytes | memoryview, most: int) -> list[bytes]:
    """Splits the binary form of a BYTES tensor into its elements.

    Args:
        data: The binary form.
        most: Maximum elements; reading ends there, because an empty one takes four bytes and a list of them much more.

    Raises:
        InvalidRequestError: More elements than `most`, or the data ends in the middle of one.
    """
    elements: list[bytes] = []
    at, view = 0, memoryview(data)
    while at < len(view):
        if len(elements) == most:
            raise InvalidRequestError(f"the BYTES tensor has more than the {most} elements of its shape")
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(view, at)[0] if start <= len(view) else start
        if end > len(view):
            raise InvalidRequestError(
                f"element {len(elements)} of the BYTES tensor ends at byte {end} of {len(view)} given; "
                "expected each element after its length in 4 bytes, little-endian"
            )
        elements.append(bytes(view[start:end]))
        at = end
    return elements


def _flat(values: Any) -> list[Any]:
    """Flattens arrays of any depth; no recursion, as JSON can be deeper than Python's stack."""
    flat, waiting = [], [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (list, tuple)):
            waiting.extend(reversed(value))
        else:
            flat.append(value)
    return flat
