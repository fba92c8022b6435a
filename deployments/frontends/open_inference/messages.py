"""Messages: an inference request and its answer, the same for JSON, JSON with binary, and gRPC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deployments.errors import InvalidRequestError
from deployments.frontends.failures import Failure
from deployments.frontends.open_inference.tensors import InputTensor, OutputTensor


@dataclass(frozen=True)
class RequestedOutput:
    """One output that the client asks for.

    Attributes:
        name: Its name.
        binary: Whether an HTTP answer carries it in binary form; None: as the request's parameters say.
    """

    name: str
    binary: bool | None = None


@dataclass(frozen=True)
class InferRequest:
    """A client's inference request.

    Attributes:
        inputs: The tensors.
        outputs: Requested outputs, in this order; empty: all.
        id: Echoed in the answer.
        parameters: Those of the whole request, e.g. `confidence`.
    """

    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InferAnswer:
    """The answer of a model.

    Attributes:
        model_name: The model's name.
        model_version: The model's version.
        id: The request's id.
        outputs: The requested tensors.
        file_version: First digits of the SHA-256 of the model's file; the answer has it as its parameter `version`.
    """

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]
    file_version: str | None = None


def refuse_extensions(tensor: str, parameters: dict[str, Any]) -> None:
    """Refuses the tensor parameters of Triton extensions that are not supported.

    Raises:
        InvalidRequestError: Names the tensor and the parameter.
    """
    for name in ("shared_memory_region", "classification"):
        if parameters.get(name):
            raise InvalidRequestError(f"{tensor}: the parameter {name!r} is not supported here")


def protocol_status(failure: Failure) -> int:
    """Returns the protocol's HTTP status of a failure: 415 and 422 become 400, as body and query are one message."""
    return 400 if failure.status in (415, 422) else failure.status
