"""RawModel: the network alone: its input tensor in, its output rows out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import quote
from azaion_engine.model.info import DYNAMIC, TensorInfo
from deployments.errors import InvalidRequestError
from deployments.frontends.open_inference.bounds.body_limits import HEADER_BYTES, MOST_JSON_BYTES, BodyLimits
from deployments.frontends.open_inference.model import OpenModel, TensorSpec, all_or_none
from deployments.frontends.open_inference.tensors import InputTensor, OutputTensor
from deployments.service import DetectorService
from deployments.watching.stage_times import StageTimes

_DATATYPES = {"float32": "FP32", "float16": "FP16", "uint8": "UINT8"}
_JSON_BYTES_PER_VALUE = 24
"""Bytes of a double in full, with its comma and a space."""


class RawModel(OpenModel):
    """Takes pictures prepared by the client, e.g. `[n, 3, height, width]`; gives rows `[n, k, 6]` in their pixels.

    Rows of oriented boxes are `[n, k, 7]`: centre x, centre y, width, height, confidence, class, angle in radians.
    Those of poses are `[n, k, 6 + 3 * count]`: x, y and visibility of each keypoint come last.
    Names and datatypes are the model file's own; rows of a head that has none are named `rows`. A float input may be
    FP32 or FP16; rows are always FP32, because FP16 numbers from 1024 on are a whole pixel apart.
    """

    def __init__(self, service: DetectorService) -> None:
        """Describes the model of a replica."""
        detector = service.detector
        height, width = detector.engine.get_input_shape()
        if detector.info:
            tensor, rows = detector.info.input, detector.info.outputs[0]
        else:  # an engine without a model file: Ultralytics' names
            tensor, rows = TensorInfo("images", "float32", ()), TensorInfo("output0", "float32", (DYNAMIC, DYNAMIC, 6))
        head = detector.engine.choice.head
        if head.name not in ("end_to_end", "oriented_rows"):  # rows are made of the outputs, and none has their name
            rows = TensorInfo("rows", "float32", (DYNAMIC, DYNAMIC, 6))
        datatype = _DATATYPES[tensor.dtype]
        others = {"FP32": ("FP16",), "FP16": ("FP32",)}.get(datatype, ())
        count = rows.shape[1] if len(rows.shape) == 3 else DYNAMIC
        most = min(detector.engine.get_batch_size(), service.settings.max_queue)
        super().__init__(
            service,
            f"{detector.model_name}_raw",
            TensorSpec(
                tensor.name, datatype, (-1, *detector.engine.choice.form.array_shape(height, width)), also=others
            ),
            (TensorSpec(rows.name, "FP32", (-1, count, head.row_columns)),),
            most=most,
            max_batch_size=most,
        )
        self.platform = "tensorrt_plan" if detector.engine.name.startswith("tensorrt") else "onnxruntime_onnx"

    @property
    def limits(self) -> BodyLimits:
        """The largest batch, in FP32 if the model takes floats; binary one row more, so that its shape can be told."""
        row = math.prod(self.input.shape[1:])
        values = self.most * row
        bytes_per_value = 2 if self.input.datatype == "UINT8" else 4  # a varint of gRPC's typed contents takes up to 2
        as_json = min(values * _JSON_BYTES_PER_VALUE, MOST_JSON_BYTES)
        return BodyLimits(values, (values + row) * bytes_per_value, as_json + HEADER_BYTES)

    def check_shape(self, tensor: InputTensor) -> None:
        """Accepts `[n, 3, height, width]` with n up to `most`."""
        n, *rest = tensor.shape or (0,)
        expected = list(self.input.shape[1:])
        if rest != expected or not 1 <= n <= self.most:
            raise InvalidRequestError(
                f"input {tensor.name!r}: expected {['n', *expected]} with n of 1 to {self.most}, "
                f"given {quote(list(tensor.shape))}".replace("'n'", "n")
            )

    async def run(
        self, array: NDArray[Any], parameters: dict[str, Any]
    ) -> tuple[list[OutputTensor], Sequence[StageTimes]]:
        """Runs each row, batched together with the replica's other requests."""
        answers = await all_or_none([self.service.infer_row(row) for row in array])
        (output,) = self.outputs.values()
        return [OutputTensor(output.name, "FP32", _stack([answer.rows for answer in answers]))], [
            answer.times for answer in answers
        ]


def _stack(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stacks parts `[k, columns]`, padded with zeros: a model may leave k open, so it can differ between batches."""
    stacked = np.zeros((len(parts), max(len(part) for part in parts), parts[0].shape[1]), np.float32)
    for row, part in zip(stacked, parts, strict=True):
        row[: len(part)] = part
    return stacked
