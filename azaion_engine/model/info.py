"""ModelInfo: tensors, metadata and class names of an ONNX file, read without running it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from typing import Any

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.heads.end_to_end import check_detection_shape
from azaion_engine.model.external_weights import check_self_contained
from azaion_engine.model.labels import parse_names
from azaion_engine.model.other_task import other_task
from azaion_engine.model.parsing import parse_model
from azaion_engine.settings import DYNAMIC_SIZE

DYNAMIC = -1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a model.

    Attributes:
        name: Name of the tensor.
        dtype: NumPy name of the element type, e.g. `float32`.
        shape: Dimensions; `DYNAMIC` (-1) for dynamic ones.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelInfo:
    """An ONNX detector's identity, tensors and metadata.

    Attributes:
        sha256: SHA-256 of the model's bytes, hex (`ModelFile.sha256`).
        input: The picture input, `[batch, 3, height, width]`.
        outputs: Every output; the first is `[batch, n, 6]`.
        metadata: The file's `metadata_props`.
        names: Class names by id, from `metadata["names"]`; empty where the model gives none.
    """

    sha256: str
    input: TensorInfo
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    @classmethod
    def from_onnx(cls, model_bytes: bytes) -> ModelInfo:
        """Reads an ONNX file.

        Args:
            model_bytes: The model with all its weights, as `ModelFile.data` has it.

        Raises:
            ModelError: Not an ONNX file, or weights are missing, or its inputs and outputs are not a detector's.
        """
        model = parse_model(model_bytes)
        check_self_contained(model)
        graph = model.graph
        weights = {w.name for w in graph.initializer}
        inputs = [read_tensor(value) for value in graph.input if value.name not in weights]
        outputs = tuple(read_tensor(value) for value in graph.output)
        if len(inputs) != 1 or not outputs:
            raise ModelError(
                f"expected one input [batch, 3, height, width] and an output [batch, n, 6], "
                f"the model has inputs {[i.name for i in inputs]} and outputs {[o.name for o in outputs]}"
            )
        picture = inputs[0]
        if (
            len(picture.shape) != 4
            or picture.shape[1] not in (3, DYNAMIC)
            or picture.dtype not in ("float32", "float16")
        ):
            raise ModelError(
                f"input {picture.name!r} is {picture.dtype} {list(picture.shape)}, "
                "expected float32 or float16 [batch, 3, height, width]"
            )
        metadata = {p.key: p.value for p in model.metadata_props}
        if task := other_task(picture.shape, [output.shape for output in outputs], metadata):
            raise ModelError(f"the model is {task}")
        if graph.output[0].type.tensor_type.HasField("shape"):  # else checked after the first run
            check_detection_shape(outputs[0].shape, outputs[0].name)
        return cls(
            sha256=hashlib.sha256(model_bytes).hexdigest(),
            input=picture,
            outputs=outputs,
            metadata=metadata,
            names=_names(metadata),
        )

    def resolve(self, batch: int, height: int | None, width: int | None) -> tuple[int, int, int]:
        """Returns (batch, height, width) to run with: the model's fixed values, else the given ones, else 1280."""
        fixed_batch, _, fixed_height, fixed_width = self.input.shape
        return (
            fixed_batch if fixed_batch > 0 else batch,
            fixed_height if fixed_height > 0 else height or DYNAMIC_SIZE,
            fixed_width if fixed_width > 0 else width or DYNAMIC_SIZE,
        )


def _names(metadata: dict[str, str]) -> dict[int, str]:
    """Reads the class names; none if unreadable, because the model still runs and `labels` can supply them."""
    if not metadata.get("names"):
        return {}
    try:
        return parse_names(metadata["names"])
    except ConfigurationError as error:
        logger.warning("ignoring the model's class names: %s", error)
        return {}


def read_tensor(value: Any) -> TensorInfo:
    """Reads name, type and shape from an `onnx.ValueInfoProto`."""
    import onnx

    tensor = value.type.tensor_type
    dims = tuple(d.dim_value if d.HasField("dim_value") else DYNAMIC for d in tensor.shape.dim)
    known = tensor.elem_type in onnx.helper.get_all_tensor_dtypes()
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if known else "unknown"
    return TensorInfo(value.name, dtype, dims)
