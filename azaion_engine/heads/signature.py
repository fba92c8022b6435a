"""Signature: what a model file says of its network: tensors, operators and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DYNAMIC = -1


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a network.

    Attributes:
        name: Name of the tensor.
        dtype: NumPy name of the element type, e.g. `float32`.
        shape: Dimensions; `DYNAMIC` (-1) for dynamic ones.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        dims = ", ".join("?" if size == DYNAMIC else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} [{dims}]"


@dataclass(frozen=True)
class Signature:
    """Inputs, outputs, operators and metadata of a network.

    Attributes:
        inputs: Every input that is not a weight.
        outputs: Every output, in the file's order.
        operators: Operator type → number of such nodes, e.g. `NonMaxSuppression`.
        metadata: The file's `metadata_props`.
        size: (height, width) that the network will run at, in pixels.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)

    @property
    def anchors(self) -> int:
        """Places of a pyramid of strides 8, 16 and 32: Σ (height / s · width / s), 8400 at 640²."""
        height, width = self.size
        return sum((height // stride) * (width // stride) for stride in (8, 16, 32))

    def output(self, name: str) -> TensorInfo | None:
        """Returns the output of a name, or None."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)
