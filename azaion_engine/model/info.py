"""ModelInfo: tensors, metadata and class names of an ONNX file, read without running it."""

from __future__ import annotations

import ast
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.heads.base import DYNAMIC, PluginSuppression, Signature, TensorInfo
from azaion_engine.model import extras as extra_inputs
from azaion_engine.model.external_weights import check_self_contained
from azaion_engine.model.labels import parse_names
from azaion_engine.model.operators import count_operators
from azaion_engine.model.other_task import other_task
from azaion_engine.model.parsing import parse_model
from azaion_engine.model.plugins import cut_plugin
from azaion_engine.model.quantised import Quantised, quantised_format
from azaion_engine.pictures.input_form import layout_of
from azaion_engine.settings import DYNAMIC_SIZE

__all__ = ["DYNAMIC", "ModelInfo", "TensorInfo", "read_tensor"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """An ONNX detector's identity, tensors and metadata.

    Attributes:
        sha256: SHA-256 of the model's bytes, hex (`ModelFile.sha256`).
        input: The picture input, `[batch, 3, height, width]` or `[batch, height, width, 3]`.
        outputs: Every output.
        metadata: The file's `metadata_props`.
        names: Class names by id, from `metadata["names"]`; empty where the model gives none.
        extras: Other inputs, all of those that `model.extras` knows.
        operators: How many nodes of each operator the model runs.
        unbatched: Whether the picture input has no batch dimension in the file: `input` has one of 1.
        suppression: What TensorRT's plugin does at the model's end. It is taken out: outputs are the plugin's inputs.
        quantised: Format of its Q/DQ nodes; None without such nodes.
    """

    sha256: str
    input: TensorInfo
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    extras: tuple[TensorInfo, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    unbatched: bool = False
    suppression: PluginSuppression | None = None
    quantised: Quantised | None = None

    @classmethod
    def from_onnx(cls, model_bytes: bytes) -> ModelInfo:
        """Reads an ONNX file.

        Args:
            model_bytes: The model with all its weights, as `ModelFile.data` has it.

        Raises:
            ModelError: Not an ONNX file, or weights are missing, or it takes no pictures, or is for another task;
                `heads.choice` tells whether it is a detector.
        """
        model = parse_model(model_bytes)
        check_self_contained(model)
        suppression = cut_plugin(model)
        graph = model.graph
        weights = {w.name for w in graph.initializer}
        inputs = [read_tensor(value) for value in graph.input if value.name not in weights]
        outputs = tuple(read_tensor(value) for value in graph.output)
        unbatched = len(inputs) == 1 and len(inputs[0].shape) == 3
        if unbatched:  # torchvision's
            inputs = [replace(inputs[0], shape=(1, *inputs[0].shape))]
        picture, extras = _picture_and_extras(inputs, outputs)
        metadata = {p.key: p.value for p in model.metadata_props}
        if task := other_task(picture.shape, [output.shape for output in outputs], metadata):
            raise ModelError(f"the model is {task}")
        return cls(
            sha256=hashlib.sha256(model_bytes).hexdigest(),
            input=picture,
            outputs=outputs,
            metadata=metadata,
            names=_names(metadata),
            extras=extras,
            operators=count_operators(model),
            unbatched=unbatched,
            suppression=suppression,
            quantised=quantised_format(model),
        )

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input; `DYNAMIC` for dynamic ones."""
        shape = self.input.shape
        return (shape[2], shape[3]) if layout_of(shape) == "nchw" else (shape[1], shape[2])

    @cached_property
    def trained_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels, from the metadata's `imgsz`; None without."""
        value = _literal(self.metadata.get("imgsz", ""))
        pair = [value, value] if isinstance(value, int) else value
        if isinstance(pair, (list, tuple)) and len(pair) == 2 and all(type(s) is int and s >= 1 for s in pair):
            return pair[0], pair[1]
        return None

    @cached_property
    def largest_batch(self) -> int | None:
        """Rows that one execution can answer, where suppression was exported picture by picture; None: any number.

        Ultralytics' `nms=True` repeats suppression for each picture of the metadata's `batch`: further rows come back
        empty.
        """
        if self.input.shape[0] > 0:
            return None
        repeated = self.operators.get("NonMaxSuppression", 0)
        arguments = _literal(self.metadata.get("args", ""))
        baked = isinstance(arguments, dict) and arguments.get("nms") is True
        batch = _literal(self.metadata.get("batch", ""))
        if (baked or repeated) and type(batch) is int and batch >= 1:
            return batch
        return repeated or (1 if baked else None)

    def signature(self, height: int, width: int) -> Signature:
        """Returns what the head is recognised by, for a network input of this size in pixels."""
        return Signature(
            picture=self.input,
            extras=self.extras,
            outputs=self.outputs,
            metadata=self.metadata,
            network=(height, width),
            operators=self.operators,
            classes=max(self.names, default=-1) + 1,  # ids may have holes
            suppression=self.suppression,
        )

    def resolve(self, batch: int, height: int | None, width: int | None) -> tuple[int, int, int]:
        """Returns (batch, height, width) to run with.

        The model's fixed values, else the given ones, else the metadata's `imgsz`, else 1280; the batch is at most
        `largest_batch`.
        """
        fixed_batch, (fixed_height, fixed_width) = self.input.shape[0], self.size
        trained_height, trained_width = self.trained_size or (DYNAMIC_SIZE, DYNAMIC_SIZE)
        return (
            fixed_batch if fixed_batch > 0 else min(batch, self.largest_batch or batch),
            fixed_height if fixed_height > 0 else height or trained_height,
            fixed_width if fixed_width > 0 else width or trained_width,
        )


def _picture_and_extras(
    inputs: list[TensorInfo], outputs: tuple[TensorInfo, ...]
) -> tuple[TensorInfo, tuple[TensorInfo, ...]]:
    """Finds the input that takes the pictures.

    Raises:
        ModelError: There is none, or another input that nothing is known about.
    """
    pictures = [one for one in inputs if _takes_pictures(one)]
    extras = tuple(one for one in inputs if one not in pictures)
    if len(pictures) == 1 and all(map(extra_inputs.is_known, extras)) and outputs:
        return pictures[0], extras
    if len(inputs) == 1 and outputs:
        raise ModelError(
            f"input {inputs[0].name!r} is {inputs[0].dtype} {list(inputs[0].shape)}, expected float32, float16 or "
            "uint8 [batch, 3, height, width] or [batch, height, width, 3]"
        )
    raise ModelError(
        f"expected one input [batch, 3, height, width], beside it at most "
        f"{', '.join(map(repr, extra_inputs.NAMES))}, and an output; "
        f"the model has inputs {[i.name for i in inputs]} and outputs {[o.name for o in outputs]}"
    )


def _takes_pictures(tensor: TensorInfo) -> bool:
    channels = (3, DYNAMIC)
    return (
        len(tensor.shape) == 4
        and (tensor.shape[1] in channels or tensor.shape[3] in channels[:1])
        and tensor.dtype in ("float32", "float16", "uint8")
    )


def _literal(text: str) -> Any:
    """Reads a Python literal; None if it is none."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


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
