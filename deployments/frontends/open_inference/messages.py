"""An inference request and its answer, the same whether they travel as JSON, as JSON and binary, or over gRPC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from azaion_engine.errors import InvalidRequestError
from deployments.frontends.open_inference.tensors import InputTensor, OutputTensor


@dataclass(frozen=True)
class RequestedOutput:
    """One output that the client asks for.

    Attributes:
        name: Its name.
        binary: Whether an HTTP answer carries it in binary form; None: as the request says for all.
    """

    name: str
    binary: bool | None = None


@dataclass(frozen=True)
class InferRequest:
    """What a client asks of a model.

    Attributes:
        inputs: The tensors.
        outputs: Those wanted, in this order; empty: all.
        id: Echoed in the answer.
        parameters: Of the whole request, e.g. `confidence`.
    """

    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InferAnswer:
    """What the model answers.

    Attributes:
        model_name: Its name.
        model_version: Its version.
        id: The request's own.
        outputs: The tensors asked for.
    """

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]


def refuse_extensions(tensor: str, parameters: dict[str, Any]) -> None:
    """Refuses the tensor parameters of those Triton extensions that are not offered.

    Raises:
        InvalidRequestError: Names the tensor and the parameter.
    """
    for name in ("shared_memory_region", "classification"):
        if parameters.get(name):
            raise InvalidRequestError(f"{tensor}: the parameter {name!r} is not supported here")
