"""gRPC codec: the protocol's messages ↔ requests and answers."""

from __future__ import annotations

from typing import Any

from azaion_engine.errors import quote
from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.messages import InferAnswer, InferRequest, RequestedOutput, refuse_extensions
from deployments.frontends.open_inference.tensors import InputTensor

_CONTENTS = {"BYTES": "bytes_contents", "FP32": "fp32_contents", "INT32": "int_contents", "UINT8": "uint_contents"}
"""Fields of `InferTensorContents`; it has none for FP16."""


def decode_request(message: Any) -> InferRequest:
    """Reads a `ModelInferRequest`.

    Raises:
        InvalidRequestError: Its parts do not match.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequestError(f"{len(message.inputs)} inputs were sent with {len(raw)} raw_input_contents")
    contents = list(raw) or [None] * len(message.inputs)
    return InferRequest(
        inputs=tuple(_input(tensor, content) for tensor, content in zip(message.inputs, contents, strict=True)),
        outputs=tuple(_requested(output) for output in message.outputs),
        id=message.id,
        parameters=_parameters(message),
    )


def encode_answer(answer: InferAnswer) -> Any:
    """Writes a `ModelInferResponse`, its tensors in binary form as Triton does."""
    from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol

    version = answer.file_version
    return protocol.ModelInferResponse(
        model_name=answer.model_name,
        model_version=answer.model_version,
        id=answer.id,
        parameters={} if version is None else {"version": protocol.InferParameter(string_param=version)},
        outputs=[
            protocol.ModelInferResponse.InferOutputTensor(name=o.name, datatype=o.datatype, shape=o.shape)
            for o in answer.outputs
        ],
        raw_output_contents=[output.to_bytes() for output in answer.outputs],
    )


def _input(tensor: Any, raw: bytes | None) -> InputTensor:
    refuse_extensions(f"input {quote(tensor.name)}", _parameters(tensor))
    if any(size < 0 for size in tensor.shape):
        raise InvalidRequestError(
            f"input {quote(tensor.name)}: expected a shape of whole numbers, given {quote([*tensor.shape])}"
        )
    content: Any = raw
    if content is None:
        field = _CONTENTS.get(tensor.datatype)
        content = getattr(tensor.contents, field) if field else b""
        if tensor.datatype == "BYTES":
            content = list(content)
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), content)


def _requested(output: Any) -> RequestedOutput:
    refuse_extensions(f"output {quote(output.name)}", _parameters(output))
    return RequestedOutput(output.name)


def _parameters(message: Any) -> dict[str, Any]:
    return {
        name: getattr(value, choice)
        for name, value in message.parameters.items()
        if (choice := value.WhichOneof("parameter_choice"))
    }
