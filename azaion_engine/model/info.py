"""ModelInfo: tensors, metadata and class names of an ONNX file, read without running it."""

from __future__ import annotations

import hashlib
import logging
from ast import literal_eval
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.heads.signature import DYNAMIC, Signature, TensorInfo
from azaion_engine.model.external_weights import check_self_contained
from azaion_engine.model.labels import parse_names
from azaion_engine.model.other_task import other_task
from azaion_engine.model.parsing import parse_model
from azaion_engine.settings import DYNAMIC_SIZE

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
        operators: Operator type → number of such nodes.
    """

    sha256: str
    input: TensorInfo
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    operators: dict[str, int] = field(default_factory=dict)

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
                "expected one input [batch, 3, height, width] and an output, "
                f"the model has inputs {[i.name for i in inputs]} and outputs {[o.name for o in outputs]}"
            )
        picture = inputs[0]
        if (
            len(picture.shape) != 4
            or not {picture.shape[1], picture.shape[3]} & {3, DYNAMIC}
            or picture.dtype not in ("float32", "float16", "uint8")
        ):
            raise ModelError(
                f"input {picture.name!r} is {picture.dtype} {list(picture.shape)}, "
                "expected float32, float16 or uint8 [batch, 3, height, width] or [batch, height, width, 3]"
            )
        metadata = {p.key: p.value for p in model.metadata_props}
        if task := other_task(picture.shape, [output.shape for output in outputs], metadata):
            raise ModelError(f"the model is {task}")
        return cls(
            sha256=hashlib.sha256(model_bytes).hexdigest(),
            input=picture,
            outputs=outputs,
            metadata=metadata,
            names=_names(metadata),
            operators=dict(Counter(node.op_type for node in graph.node)),
        )

    @property
    def channels_last(self) -> bool:
        """Whether the input is `[batch, height, width, 3]`."""
        return self.input.shape[1] not in (3, DYNAMIC)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input in pixels; `DYNAMIC` where it is open."""
        _, *sides = self.input.shape
        return (sides[0], sides[1]) if self.channels_last else (sides[1], sides[2])

    def signature(self, size: tuple[int, int]) -> Signature:
        """Returns what the head is recognised by, at a (height, width) of the input in pixels."""
        return Signature((self.input,), self.outputs, self.operators, self.metadata, size)

    def resolve(self, batch: int, height: int | None, width: int | None) -> tuple[int, int, int]:
        """Returns (batch, height, width) to run with.

        Args:
            batch: Wanted batch.
            height: Wanted height in pixels, or None.
            width: Likewise.

        Returns:
            The model's fixed values; else the wanted ones, the batch at most the one that the metadata states; sizes
            default to the metadata's `imgsz`, else 1280.
        """
        fixed_height, fixed_width = self.size
        known_height, known_width = self._trained_size()
        return (
            self.input.shape[0] if self.input.shape[0] > 0 else min(batch, self.most_rows or batch),
            fixed_height if fixed_height > 0 else height or known_height,
            fixed_width if fixed_width > 0 else width or known_width,
        )

    @property
    def most_rows(self) -> int | None:
        """Largest batch that an unrolled suppression in the network answers; None: any.

        Ultralytics' `nms=True` unrolls it for the export's `batch`: rows beyond it come back empty.
        """
        return self.operators.get("NonMaxSuppression") or None

    def _trained_size(self) -> tuple[int, int]:
        try:
            sides = literal_eval(self.metadata.get("imgsz", ""))
            height, width = (int(side) for side in (sides if isinstance(sides, (list, tuple)) else (sides, sides)))
        except (ValueError, SyntaxError, TypeError):
            return DYNAMIC_SIZE, DYNAMIC_SIZE
        return (height, width) if min(height, width) >= 1 else (DYNAMIC_SIZE, DYNAMIC_SIZE)


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
