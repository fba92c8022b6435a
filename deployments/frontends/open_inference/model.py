"""OpenModel: base of the picture model and the raw model: checks, metadata, configuration, statistics."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

from azaion_engine.errors import quote
from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds.body_limits import BodyLimits
from deployments.frontends.open_inference.messages import InferAnswer, InferRequest
from deployments.frontends.open_inference.statistics import ModelStatistics
from deployments.frontends.open_inference.tensors import InputTensor, OutputTensor
from deployments.service import DetectorService
from deployments.watching.stage_times import StageTimes

VERSION = "1"
"""The only version of each model, as the protocol numbers them; answers tell the file's in their parameters."""

_CONFIG_TYPES = {
    "BYTES": "TYPE_STRING",
    "FP16": "TYPE_FP16",
    "FP32": "TYPE_FP32",
    "INT32": "TYPE_INT32",
    "UINT8": "TYPE_UINT8",
}
_TRITONS_OWN = {
    "binary_data_output",
    *("sequence_id", "sequence_start", "sequence_end", "priority", "timeout"),
    "triton_enable_empty_final_response",  # perf_analyzer sends it over gRPC
}
"""Triton's request parameters that are ignored: the models have no sequences, priorities or partial answers."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output, as in the metadata.

    Attributes:
        name: Its name.
        datatype: The protocol's name, e.g. `FP32`.
        shape: Dimensions, the batch first; -1: set by the request.
        also: Further datatypes that are accepted.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    also: tuple[str, ...] = ()

    def metadata(self) -> dict[str, Any]:
        """Returns the protocol's `TensorMetadata`."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def config(self, batched: bool) -> dict[str, Any]:
        """Returns the tensor's part of Triton's model configuration; `batched` leaves the first dimension out."""
        return {
            "name": self.name,
            "data_type": _CONFIG_TYPES[self.datatype],
            "dims": list(self.shape[1:] if batched else self.shape),
            "is_shape_tensor": False,
        }


class OpenModel(ABC):
    """One model of the protocol on one replica."""

    platform = ""
    parameters: frozenset[str] = frozenset()
    """Request parameters that the model accepts."""

    def __init__(
        self,
        service: DetectorService,
        name: str,
        picture: TensorSpec,
        outputs: Sequence[TensorSpec],
        most: int,
        max_batch_size: int,
    ) -> None:
        """Describes the model.

        Args:
            service: Service that runs it.
            name: Its name.
            picture: Its only input.
            outputs: Its outputs, in the order used if a request names none.
            most: Maximum pictures or rows of one request.
            max_batch_size: Triton's key of that name; 0: the first dimension is not the batch.
        """
        self.service = service
        self.name = name
        self.input = picture
        self.outputs = {output.name: output for output in outputs}
        self.most = most
        self.max_batch_size = max_batch_size
        self.statistics = ModelStatistics()

    @property
    @abstractmethod
    def limits(self) -> BodyLimits:
        """Maximum sizes of one request."""

    @abstractmethod
    def check_shape(self, tensor: InputTensor) -> None:
        """Raises InvalidRequestError if the model does not accept the input's shape."""

    @abstractmethod
    async def run(
        self, array: NDArray[Any], parameters: dict[str, Any]
    ) -> tuple[list[OutputTensor], Sequence[StageTimes]]:
        """Runs the model on a checked request.

        Args:
            array: The input, of a datatype and a shape that the model accepts.
            parameters: The request's parameters.

        Returns:
            Every output, and the timing of each picture or row.
        """

    async def infer(self, request: InferRequest) -> InferAnswer:
        """Checks a request, runs it, and returns the outputs it asks for.

        Raises:
            InvalidRequestError: Unknown inputs, outputs or parameters, the message names the known ones; or an output
                is requested several times.
            AzaionError: As raised by `run`.
        """
        started = time.perf_counter()
        try:
            tensor = self._checked(request)
            array = await self.service.convert(tensor.array) if tensor.costly else tensor.array()
            outputs, parts = await self.run(array, request.parameters)
        except Exception:
            self.statistics.failed(time.perf_counter() - started)
            raise
        self.statistics.succeeded(time.perf_counter() - started, parts)
        by_name = {output.name: output for output in outputs}
        wanted = [output.name for output in request.outputs] or list(by_name)
        return InferAnswer(self.name, VERSION, request.id, [by_name[name] for name in wanted], self.service.version)

    def metadata(self) -> dict[str, Any]:
        """Returns the protocol's `ModelMetadataResponse`."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self.platform,
            "inputs": [self.input.metadata()],
            "outputs": [output.metadata() for output in self.outputs.values()],
        }

    def config(self) -> dict[str, Any]:
        """Returns Triton's model configuration."""
        batched = self.max_batch_size > 0
        on_gpu = self.service.detector.engine.name.startswith("tensorrt")
        return {
            "name": self.name,
            "platform": self.platform,
            "backend": "azaion_engine",
            "version_policy": {"latest": {"num_versions": 1}},
            "max_batch_size": self.max_batch_size,
            "input": [
                {
                    **self.input.config(batched),
                    "format": "FORMAT_NCHW" if len(self.input.shape) == 4 else "FORMAT_NONE",
                    "allow_ragged_batch": False,
                    "optional": False,
                }
            ],
            "output": [{**output.config(batched), "label_filename": ""} for output in self.outputs.values()],
            "batch_input": [],
            "batch_output": [],
            "instance_group": [{"name": self.name, "kind": "KIND_GPU" if on_gpu else "KIND_CPU", "count": 1}],
            "dynamic_batching": {
                "preferred_batch_size": [self.service.detector.engine.get_batch_size()],
                "max_queue_delay_microseconds": 0,
            },
            "default_model_filename": "",
            "parameters": {},
            "model_warmup": [],
            "model_transaction_policy": {"decoupled": False},
        }

    def _checked(self, request: InferRequest) -> InputTensor:
        unknown = sorted(request.parameters.keys() - self.parameters - _TRITONS_OWN)
        if unknown:
            known = ", ".join(sorted(self.parameters)) or "none"
            raise InvalidRequestError(f"unknown parameter {quote(unknown[0])}; the model {self.name!r} has: {known}")
        requested: set[str] = set()
        for output in request.outputs:
            if output.name not in self.outputs:
                raise InvalidRequestError(
                    f"unknown output {quote(output.name)}; the model {self.name!r} has: {', '.join(self.outputs)}"
                )
            if output.name in requested:  # thousands of times would make an answer of gigabytes
                raise InvalidRequestError(f"output {output.name!r} is requested several times; once is expected")
            requested.add(output.name)
        names = [tensor.name for tensor in request.inputs]
        if names != [self.input.name]:
            raise InvalidRequestError(f"expected the one input {self.input.name!r}, given {quote(names)}")
        tensor = request.inputs[0]
        accepted = (self.input.datatype, *self.input.also)
        if tensor.datatype not in accepted:
            raise InvalidRequestError(
                f"input {tensor.name!r}: expected datatype {' or '.join(accepted)}, given {quote(tensor.datatype)}"
            )
        self.check_shape(tensor)
        return tensor


async def all_or_none(coroutines: Sequence[Coroutine[Any, Any, Part]]) -> list[Part]:
    """Awaits all at once; the first error cancels the others, as their answers would be discarded."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
