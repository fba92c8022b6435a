"""HTTP codec: the protocol's bodies, JSON or JSON followed by binary tensors, either of them compressed."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic_core import from_json

from azaion_engine.errors import QUOTED, PictureTooLargeError, quote
from deployments.errors import InvalidRequestError
from deployments.frontends.negotiation import qualities
from deployments.frontends.open_inference.bounds.json_numbers import NUMBERS, take_numbers
from deployments.frontends.open_inference.messages import InferAnswer, InferRequest, RequestedOutput, refuse_extensions
from deployments.frontends.open_inference.tensors import InputTensor

_GZIP_OR_ZLIB = 47
"""`wbits` of zlib: recognise either header."""


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Decompresses a body according to its Content-Encoding.

    Args:
        body: As received.
        encoding: `gzip`, `deflate` (zlib's format), `identity` or nothing.
        limit: Maximum bytes of the result; decompression stops there.

    Raises:
        InvalidRequestError: Another encoding, or damaged data.
        PictureTooLargeError: The result exceeds the limit.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise InvalidRequestError(f"expected Content-Encoding gzip or deflate, given {quote(encoding)}")
    stream = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        inflated = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is no valid {encoding} data: {error}") from error
    if len(inflated) > limit:
        raise PictureTooLargeError(f"the body inflates to more than {limit} bytes, which is the most accepted")
    if not stream.eof:
        raise InvalidRequestError(f"the {encoding} data of the body is cut off")
    return inflated


def deflate(body: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """Compresses an answer as the client's Accept-Encoding allows.

    Returns:
        The body, and the Content-Encoding header, if compressed.
    """
    encodings = qualities([accepted])
    if encodings.get("gzip"):
        return gzip.compress(body), {"Content-Encoding": "gzip"}
    if encodings.get("deflate"):
        return zlib.compress(body), {"Content-Encoding": "deflate"}
    return body, {}


def decode_request(body: bytes, json_bytes: int | None, most_values: int) -> InferRequest:
    """Parses a request.

    Args:
        body: The whole body, inflated.
        json_bytes: The header Inference-Header-Content-Length: offset of the binary tensors; None if there are none.
        most_values: Maximum numbers in the JSON's tensors; parsing ends there.

    Raises:
        InvalidRequestError: The body is malformed; the message names the tensor and the fault.
    """
    if json_bytes is not None and not 0 <= json_bytes <= len(body):
        raise InvalidRequestError(f"Inference-Header-Content-Length is {json_bytes}, the body has {len(body)} bytes")
    text, numbers = take_numbers(
        memoryview(body)[:json_bytes].tobytes() if json_bytes is not None else body, most_values
    )
    try:
        message = from_json(text)
    except ValueError as error:
        raise InvalidRequestError(f"the body is no JSON: {str(error)[:QUOTED]}") from error
    message = _object(message, "the request")
    parameters = _object(message.get("parameters", {}), "parameters")
    binary = memoryview(body)[json_bytes if json_bytes is not None else len(body) :]
    inputs, at = [], 0
    for tensor in _objects(message, "inputs"):
        size = _parameters(tensor).get("binary_data_size")
        if size is not None and (not _is_size(size) or at + size > len(binary)):
            raise InvalidRequestError(
                f"input {quote(tensor.get('name'))}: binary_data_size is {quote(size)}, "
                f"{len(binary) - at} bytes are left"
            )
        inputs.append(_input(tensor, None if size is None else binary[at : at + size], parameters, numbers))
        at += size or 0
    if at != len(binary):
        raise InvalidRequestError(f"{len(binary)} binary bytes were sent, the inputs' binary_data_size adds up to {at}")
    return InferRequest(
        inputs=tuple(inputs),
        outputs=tuple(_requested(output) for output in _objects(message, "outputs")),
        id=_text(message, "id") if "id" in message else "",
        parameters=parameters,
    )


def encode_answer(answer: InferAnswer, request: InferRequest) -> tuple[bytes, int | None]:
    """Writes an answer.

    Returns:
        The body, and the offset of its binary tensors; None if there are none.
    """
    all_binary = bool(request.parameters.get("binary_data_output"))
    wishes = {output.name: output.binary for output in request.outputs}
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output in answer.outputs:
        tensor: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        wish = wishes.get(output.name)
        if all_binary if wish is None else wish:
            binary.append(output.to_bytes())
            tensor["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            tensor["data"] = output.to_list()
        outputs.append(tensor)
    message: dict[str, Any] = {"model_name": answer.model_name, "model_version": answer.model_version}
    if answer.file_version is not None:
        message["parameters"] = {"version": answer.file_version}
    message["outputs"] = outputs
    if answer.id:
        message["id"] = answer.id
    header = orjson.dumps(message)  # valid JSON even of infinite numbers: null
    return (b"".join([header, *binary]), len(header)) if binary else (header, None)


def _input(
    tensor: dict[str, Any], raw: memoryview | None, parameters: dict[str, Any], numbers: list[NDArray[np.float32]]
) -> InputTensor:
    name, own = _text(tensor, "name"), _parameters(tensor)
    refuse_extensions(f"input {quote(name)}", own)
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        raise InvalidRequestError(f"input {quote(name)}: expected a shape of whole numbers, given {quote(shape)}")
    index = tensor.get(NUMBERS)
    if isinstance(index, int) and 0 <= index < len(numbers):  # else it is the client's own, who may send any text
        if "data" in tensor:
            raise InvalidRequestError(f"input {quote(name)}: `data` is given twice")
        tensor = {**tensor, "data": numbers[index]}
    if (raw is None) == ("data" not in tensor):
        raise InvalidRequestError(f"input {quote(name)}: expected either `data` or the parameter binary_data_size")
    content_type = own.get("content_type", parameters.get("content_type"))
    if content_type not in (None, "base64"):
        raise InvalidRequestError(f"content_type: expected 'base64' or nothing, given {quote(content_type)}")
    content = raw if raw is not None else tensor["data"]
    if not isinstance(content, (memoryview, list, np.ndarray)):
        raise InvalidRequestError(
            f"input {quote(name)}: expected `data` to be an array, given {type(content).__name__}"
        )
    return InputTensor(name, _text(tensor, "datatype"), tuple(shape), content, content_type == "base64")


def _requested(output: dict[str, Any]) -> RequestedOutput:
    name, own = _text(output, "name"), _parameters(output)
    refuse_extensions(f"output {quote(name)}", own)
    binary = own.get("binary_data")
    return RequestedOutput(name, None if binary is None else bool(binary))


def _parameters(message: dict[str, Any]) -> dict[str, Any]:
    return _object(message.get("parameters", {}), "parameters")


def _objects(message: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = message.get(key, [])
    if not isinstance(values, list):
        raise InvalidRequestError(f"{key}: expected an array, given {type(values).__name__}")
    return [_object(value, f"each of {key}") for value in values]


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what}: expected an object, given {type(value).__name__}")
    return value


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise InvalidRequestError(f"{key}: expected text, given {quote(value)}")
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
