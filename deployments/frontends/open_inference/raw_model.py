"""RawModel: the network itself, its own input to its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidRequestError
from azaion_engine.model.info import DYNAMIC, TensorInfo
from deployments.frontends.open_inference.model import OpenModel, TensorSpec, all_or_none
from deployments.frontends.open_inference.tensors import InputTensor, OutputTensor

if TYPE_CHECKING:
    from deployments.deployment import DetectorDeployment, RowAnswer

_DATATYPES = {"float32": "FP32", "float16": "FP16"}
_JSON_BYTES_PER_VALUE = 24
"""A double in full, with its comma and a space."""
_MOST_JSON_BYTES = 2**27
"""Larger ones are to be sent in binary form: parsing 100 MB holds the interpreter, and with it every request, 0.4 s."""
_HEADER_BYTES = 2**20


class RawModel(OpenModel):
    """Pictures that the client has prepared itself, `[n, 3, height, width]`, to rows `[n, k, 6]` in their pixels.

    Names and datatypes are the model file's own. FP32 and FP16 are both taken; rows are always FP32, because FP16
    has a spacing of a pixel from 1024 on.
    """

    def __init__(self, replica: DetectorDeployment) -> None:
        """Describes the model of a replica."""
        detector = replica.detector
        height, width = detector.engine.get_input_shape()
        if detector.info:
            tensor, rows = detector.info.input, detector.info.outputs[0]
        else:  # an engine made from something else than a model file; Ultralytics' names
            tensor, rows = TensorInfo("images", "float32", ()), TensorInfo("output0", "float32", (DYNAMIC, DYNAMIC, 6))
        datatype = _DATATYPES[tensor.dtype]
        other = "FP16" if datatype == "FP32" else "FP32"
        count = rows.shape[1] if len(rows.shape) == 3 else DYNAMIC
        most = min(detector.engine.get_batch_size(), replica.settings.max_queue)
        super().__init__(
            replica,
            f"{detector.model_name}_raw",
            TensorSpec(tensor.name, datatype, (-1, 3, height, width), also=(other,)),
            (TensorSpec(rows.name, "FP32", (-1, count, 6)),),
            most=most,
            max_batch_size=most,
        )
        self.platform = "tensorrt_plan" if detector.engine.name.startswith("tensorrt") else "onnxruntime_onnx"

    @property
    def max_body_bytes(self) -> int:
        """The largest batch in FP32 or, where that is more, as JSON of up to 128 MiB."""
        values = self.most * int(np.prod(self.input.shape[1:]))
        return max(values * 4, min(values * _JSON_BYTES_PER_VALUE, _MOST_JSON_BYTES)) + _HEADER_BYTES

    def check_shape(self, tensor: InputTensor) -> None:
        """Accepts `[n, 3, height, width]` with n up to the engine's batch."""
        n, *rest = tensor.shape or (0,)
        expected = list(self.input.shape[1:])
        if rest != expected or not 1 <= n <= self.most:
            raise InvalidRequestError(
                f"input {tensor.name!r}: expected {['n', *expected]} with n of 1 to {self.most}, "
                f"given {list(tensor.shape)}".replace("'n'", "n")
            )

    async def run(
        self, array: NDArray[Any], parameters: dict[str, Any]
    ) -> tuple[list[OutputTensor], Sequence[RowAnswer]]:
        """Runs each row, in batches together with whatever else the replica is asked."""
        answers = await all_or_none([self.replica.infer_row(row) for row in array])
        (output,) = self.outputs.values()
        return [OutputTensor(output.name, "FP32", _stack([answer.rows for answer in answers]))], answers


def _stack(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stacks `[k, 6]` parts; a model may leave k open, and rows of one request may run in different batches."""
    stacked = np.zeros((len(parts), max(len(part) for part in parts), 6), np.float32)
    for row, part in zip(stacked, parts, strict=True):
        row[: len(part)] = part
    return stacked
