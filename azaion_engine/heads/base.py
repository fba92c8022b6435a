"""Base of all heads: their interface `Head`, and the `Signature` of a model that they are recognised by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.prepared import Selection

DYNAMIC = -1

TARGET_SIZES = "orig_target_sizes"
"""Second input of RT-DETRv2's and D-FINE's exports: int64 `[batch, 2]`, width and height that boxes are scaled to."""

Outputs = Mapping[str, NDArray[np.float32]]
"""A network's outputs by name, float32 `[batch, …]`."""


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
class PluginSuppression:
    """What TensorRT's plugin EfficientNMS did with boxes and scores, before it was taken out of the model.

    Attributes:
        boxes: Name of the output `[b, n, 4]`, or `[b, n, classes, 4]` with the same box for each class.
        scores: Name of the output `[b, n, classes]`.
        iou: Overlap above which the less confident of two boxes is dropped.
        centred: Whether boxes are centre x, centre y, width, height, not corners.
        sigmoid: Whether scores are still to be made of logits.
        background: The class that is the background; -1: none.
        class_agnostic: Whether a box also suppresses boxes of other classes.
    """

    boxes: str
    scores: str
    iou: float
    centred: bool
    sigmoid: bool
    background: int
    class_agnostic: bool


@dataclass(frozen=True)
class Signature:
    """What a model's file tells of its head, without running it.

    Attributes:
        picture: The picture input.
        extras: Its other inputs.
        outputs: Every output, in the file's order.
        metadata: The file's `metadata_props`.
        network: (height, width) of the network input, in pixels, as it will run.
        operators: How many nodes the graph has of each operator.
        classes: Number of classes by the names in the metadata, the largest id and 1; 0 if there are none.
        suppression: What a plugin did that was taken out of the model.
    """

    picture: TensorInfo
    extras: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: Mapping[str, str]
    network: tuple[int, int]
    operators: Mapping[str, int] = field(default_factory=dict)
    classes: int = 0
    suppression: PluginSuppression | None = None

    def observed(self, outputs: Outputs) -> Signature:
        """Returns the signature with the shapes that a run gave, where the file leaves them open."""
        # Outputs without a batch have got one meanwhile: their shapes stay the file's.
        seen = tuple(
            replace(tensor, shape=outputs[tensor.name].shape)
            if tensor.name in outputs and len(tensor.shape) in (0, outputs[tensor.name].ndim)
            else tensor
            for tensor in self.outputs
        )
        return replace(self, outputs=seen)


@dataclass(frozen=True)
class Keypoints:
    """Keypoints of each box, behind its other columns: `kpt_shape` in the metadata of Ultralytics' exports.

    Attributes:
        count: Number of keypoints of a box.
        values: Values of a keypoint: x, y and visibility 0…1, or x and y alone; the visibility is then taken for 1.
    """

    count: int
    values: Literal[2, 3] = 3

    @property
    def columns(self) -> int:
        """Number of columns that a network has for them; rows have 3 for each keypoint."""
        return self.count * self.values

    def to_rows(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns a network's columns `[…, count * values]` as those of rows: `[…, 3 * count]`."""
        if self.values == 3:
            return columns
        points = columns.reshape(*columns.shape[:-1], self.count, 2)
        seen = np.ones((*points.shape[:-1], 1), np.float32)
        return np.concatenate([points, seen], axis=-1).reshape(*columns.shape[:-1], 3 * self.count)


@dataclass(frozen=True)
class RawLayout:
    """What a raw output means, for a GPU that makes the rows itself.

    Attributes:
        output: Name of the output: each candidate's box as centre and size, its objectness if there is one, its scores.
        anchors_first: `[batch, candidates, values]` instead of `[batch, values, candidates]`.
        classes: Number of classes.
        objectness: Whether a candidate's fifth value multiplies its class scores.
        grid: Whether boxes are offsets and logarithms on YOLOX's grid of strides 8, 16 and 32.
        iou: Threshold where a selection names none, 0…1.
        class_offset: Added to class ids.
        oriented: Whether a candidate's last value is an angle in radians, and rows have seven columns.
        keypoints: Keypoints behind the scores; None: none, or they are not wanted.
    """

    output: str
    anchors_first: bool
    classes: int
    objectness: bool = False
    grid: bool = False
    iou: float = 0.7
    class_offset: int = 0
    oriented: bool = False
    keypoints: Keypoints | None = None


class Head(ABC):
    """Interface of a head: a network's outputs → rows of boxes; immutable, picklable and thread-safe.

    Attributes:
        name: Its value of the setting `head`.
        outputs: Names of the outputs that it reads.
        selective: Whether it suppresses overlapping boxes itself, so that IoU and number are the caller's.
        batched: Whether outputs have one row for each picture; else the network takes one picture at a time.
        oriented: Whether its boxes have an angle.
        keypoints: Keypoints of its boxes; None: they have none, or none that are wanted.
    """

    name: str
    outputs: tuple[str, ...]
    selective: bool = False
    batched: bool = True
    oriented: bool = False
    keypoints: Keypoints | None = None

    @property
    def row_columns(self) -> int:
        """Number of columns of its rows."""
        return 7 if self.oriented else 6 + 3 * (self.keypoints.count if self.keypoints else 0)

    @abstractmethod
    def rows(
        self, outputs: Outputs, size: tuple[int, int], selections: Sequence[Selection | None]
    ) -> list[NDArray[np.float32]]:
        """Returns the boxes of each picture of a batch.

        Args:
            outputs: The network's outputs; at least those named in `outputs`.
            size: (height, width) of the network input, in pixels.
            selections: One for each picture; None: every box.

        Returns:
            float32 `[k, 6]` for each: x1, y1, x2, y2 in pixels of the network input, confidence 0…1, class, by falling
            confidence; of an oriented head `[k, 7]`, as `heads.oriented` describes them; of one with keypoints
            `[k, 6 + 3 * count]`: then x, y in pixels of the network input and visibility 0…1 of each keypoint.

        Raises:
            ModelError: The outputs have a shape that this head does not have.
        """

    def raw_layout(self) -> RawLayout | None:
        """Returns what a GPU needs to make the rows itself; None if only `rows` can."""
        return None

    @abstractmethod
    def contradicts(self, outputs: Outputs, size: tuple[int, int]) -> str:
        """Returns why the outputs of a real picture cannot be this head's; empty if they can."""


class OneOutputHead(Head):
    """Head that reads a single output.

    Attributes:
        output: Its name.
    """

    output: str

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one output."""
        return (self.output,)


def wanted(selection: Selection | None) -> Selection:
    """Returns the selection, or the one that keeps every box."""
    return selection or Selection()


def corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Converts centre x, centre y, width, height `[n, 4]` to x1, y1, x2, y2, a new array."""
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def scale_of(size: tuple[int, int]) -> NDArray[np.float32]:
    """Returns width, height, width, height of the network input: the factors of boxes in 0…1."""
    height, width = size
    return np.array([width, height, width, height], np.float32)


def as_rows(
    boxes: NDArray[np.float32], confidences: NDArray[np.float32], classes: NDArray[np.generic]
) -> NDArray[np.float32]:
    """Puts boxes `[n, 4]`, confidences `[n]` and classes `[n]` together as rows `[n, 6]`, by falling confidence."""
    rows = np.concatenate([boxes, confidences[:, None], classes[:, None]], axis=1, dtype=np.float32)
    return rows[np.argsort(-confidences, kind="stable")]


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the confidence of each logit, 0…1."""
    with np.errstate(over="ignore"):  # below -88 the power is infinite, and the confidence 0
        shares: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-logits))
    return shares


_PIXELS = 2.0
"""Boxes of which a coordinate is above this are in pixels."""


def is_share(values: NDArray[np.float32]) -> bool:
    """Whether all values are within 0…1, but for rounding in FP16."""
    return bool(values.size == 0 or (np.isfinite(values).all() and values.min() >= -1e-3 and values.max() <= 1.001))


def are_relative(boxes: NDArray[np.float32]) -> bool:
    """Whether boxes are in 0…1 of the network input, not in pixels; a network's may reach beyond its edges."""
    return bool(np.abs(boxes).max(initial=0) <= _PIXELS)


def is_whole(values: NDArray[np.float32]) -> bool:
    """Whether all values are whole numbers from 0 on."""
    if values.size == 0:
        return True
    return bool(np.isfinite(values).all() and (values == np.rint(values)).all() and values.min() >= 0)


_LIKELY = 0.05
"""Confidence of a box that is neither filler nor noise."""

_INVERTED = 0.3
"""Largest share of likely corners that end before they begin: networks that are hardly trained give some."""


def are_corners(boxes: NDArray[np.float32], confidences: NDArray[np.float32]) -> bool:
    """Whether boxes `[n, 4]` end after they begin: the likely ones, or most of all if none is likely.

    Of centres and sizes, most objects do not: they lie further from the upper left corner than they are large.
    """
    inverted: NDArray[np.bool_] = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    likely = inverted[confidences >= _LIKELY]
    if likely.size:
        return bool(likely.mean() <= _INVERTED)
    return bool(inverted.size == 0 or inverted.mean() <= 0.5)


CROWDED = "of many boxes none reaches beyond the middle of the picture, so they are in cells of a map, not pixels"
"""Fault of boxes that `are_crowded`, as CenterNet's are before they are multiplied by its stride of 4."""

_MANY = 50


def are_crowded(boxes: NDArray[np.float32], size: tuple[int, int]) -> bool:
    """Whether there are many boxes, `[n, 4 or more]` of corners, all in the first quarter of the network input.

    Those of nearly no confidence lie all over it, so that this is no chance.
    """
    height, width = size
    return len(boxes) >= _MANY and bool(boxes[:, 2].max() <= width / 2 and boxes[:, 3].max() <= height / 2)
