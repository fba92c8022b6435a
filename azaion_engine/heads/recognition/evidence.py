"""Evidence: what a model's file and the user's keys say about its head."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from typing import Any

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.heads.base import Keypoints, Signature, TensorInfo
from azaion_engine.pictures.input_form import InputForm, layout_of
from azaion_engine.settings import DetectorSettings

_LEVELS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Strides of the levels that detectors of the YOLO family have: P3 to P5, P3 to P6, P2 to P5."""

_TASKS = ("detect", "segment", "pose", "obb", "classify")

EXPORT_ADVICE = (
    "exports of YOLO, YOLOX, RT-DETR, D-FINE and DETR are read as they are; else export with rows of x1, y1, x2, y2, "
    "confidence, class (`yolo export format=onnx nms=False` for YOLO26 and YOLOv10, formerly `end2end=True`; "
    "`yolo export format=onnx nms=True` for others)"
)


class Evidence:
    """A signature and the user's keys, with what follows from them.

    Attributes:
        signature: What the file tells.
        settings: The user's keys.
        operators: How many nodes the graph has of each operator.
        outputs: The outputs by name, without the scope before it and the port that TensorFlow writes behind it:
            `detection_boxes` for `StatefulPartitionedCall/detection_boxes:0`.
    """

    def __init__(self, signature: Signature, settings: DetectorSettings) -> None:
        """Reads nothing else."""
        self.signature = signature
        self.settings = settings
        self.metadata = signature.metadata
        self.operators = signature.operators
        self.outputs = {tensor.name.rsplit("/", 1)[-1].rsplit(":", 1)[0]: tensor for tensor in signature.outputs}

    @property
    def task(self) -> str:
        """Ultralytics' task: `detect`, `segment`, `pose`, `obb`, `classify`; empty if unknown."""
        if self.settings.task == "obb":
            return "obb"
        task = self.metadata.get("task", "")
        # What others write there, such as "object-detection", says nothing of the outputs.
        return task if self.of_ultralytics or task in _TASKS else ""

    @property
    def classes(self) -> int:
        """Number of classes by their names; 0 if the file has none."""
        return self.signature.classes

    @cached_property
    def args(self) -> dict[str, Any]:
        """Arguments of Ultralytics' export."""
        try:
            args = ast.literal_eval(self.metadata.get("args", "{}"))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return {}
        return args if isinstance(args, dict) else {}

    @cached_property
    def keypoints(self) -> Keypoints | None:
        """Keypoints of each box, by the metadata's `kpt_shape`; None: no pose model, unknown, or not wanted."""
        if self.task != "pose" or self.settings.task == "detect":
            return None
        try:
            shape = ast.literal_eval(self.metadata.get("kpt_shape", ""))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
        match shape:
            case [int(count), int(values)] if count > 0 and values in (2, 3):
                return Keypoints(count, 3 if values == 3 else 2)
        return None

    @property
    def of_yolo(self) -> bool:
        """Whether the metadata is of Ultralytics' kind, which YOLOv5 and this project's demo model write too."""
        return "stride" in self.metadata and self.classes > 0

    @property
    def of_ultralytics(self) -> bool:
        """Whether Ultralytics' own exporter wrote the metadata."""
        return self.metadata.get("author") == "Ultralytics"

    @cached_property
    def anchors(self) -> dict[int, tuple[int, ...]]:
        """Strides of the levels by number of candidates: the sum of H/s * W/s over the strides s."""
        height, width = self.signature.network
        return {sum((height // s) * (width // s) for s in levels): levels for levels in reversed(_LEVELS)}

    def is_candidates(self, count: int) -> bool:
        """Whether so many boxes are one for each cell, or three, so that nothing has suppressed them yet."""
        return any(count in (cells, 3 * cells) for cells in self.anchors)

    @property
    def tensors(self) -> list[TensorInfo]:
        """Outputs that can be candidates or rows: floats of three dimensions."""
        return [tensor for tensor in self.signature.outputs if len(tensor.shape) == 3 and "float" in tensor.dtype]

    def has_all(self, *names: str) -> bool:
        """Whether the model has all of these outputs."""
        return all(name in self.outputs for name in names)

    def full(self, *names: str) -> list[str]:
        """Returns the names as the file has them."""
        return [self.outputs[name].name for name in names]

    def given(self, keys: Collection[str]) -> bool:
        """Whether the user has set all of these keys of the settings."""
        return all(getattr(self.settings, key) is not None for key in keys)

    def form(self, family: InputForm) -> InputForm:
        """Returns the input form: what the file fixes, then the user's keys, then the family's.

        Raises:
            ConfigurationError: The file cannot follow a key.
        """
        picture = self.signature.picture
        keys = self.settings.input.model_dump(exclude_none=True) if self.settings.input else {}
        fixed: dict[str, Any] = {"layout": layout_of(picture.shape, keys.get("layout"))}
        if picture.dtype == "uint8":
            fixed |= {"dtype": "uint8", "scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
        elif picture.dtype == "float16":
            fixed["dtype"] = "float16"
        for key, value in keys.items():
            if key in fixed and fixed[key] != value:
                raise ConfigurationError(
                    f"input.{key}: this model's input {picture.name!r} is {picture.dtype} {list(picture.shape)}, "
                    f"which fixes {fixed[key]}, given {value}"
                )
        return replace(family, **{**keys, **fixed})

    def notes(self) -> list[str]:
        """Returns what the export has fixed."""
        notes = []
        suppressed = self.operators.get("NonMaxSuppression", 0) + self.operators.get("EfficientNMS_TRT", 0)
        if self.args.get("nms") is True:
            confidence = self.args.get("conf") or 0.25
            notes.append(f"the export dropped boxes below confidence {confidence}: a lower threshold finds no more")
        elif suppressed:
            notes.append("suppression is part of the file: its confidence and IoU thresholds cannot be changed")
        return notes

    def outputs_in_words(self) -> str:
        """Returns the outputs with their shapes."""
        outputs = ", ".join(f"{tensor.name!r} {shape_in_words(tensor.shape)}" for tensor in self.signature.outputs)
        return f"output{'s' * (len(self.signature.outputs) > 1)} {outputs}"

    def advice(self) -> str:
        """Returns what a user can do about a head that was not recognised."""
        return f"set the key `head` if you know it; {EXPORT_ADVICE}"

    def require_detection(self) -> None:
        """Refuses a model for another task, and one for segmentation without the key `task`.

        Raises:
            ModelError: Names the task, and the key where there is one.
        """
        task = self.task
        if task in ("", "detect"):
            return
        if task == "obb":
            self._require_oriented()
            return
        if task not in ("segment", "pose"):
            raise ModelError(f"the model is for the task {task!r}, which finds no boxes")
        if self.settings.task == "detect" or self.keypoints is not None:
            return
        if task == "pose":
            raise ModelError(
                "the model is for the task 'pose', and its metadata does not say how many keypoints a box has: "
                f"expected `kpt_shape` such as [17, 3], given {self.metadata.get('kpt_shape', 'none')}; "
                "`task: detect` takes its boxes alone, without keypoints"
            )
        raise ModelError(f"the model is for the task {task!r}; `task: detect` takes its boxes alone, without masks")

    def _require_oriented(self) -> None:
        head = self.settings.head
        if self.settings.task == "detect":
            raise ModelError(
                "the model finds oriented boxes (task: obb), and `task: detect` is for models with masks or keypoints; "
                "leave it out: answers have the upright box around each oriented one, too"
            )
        if head is not None and not head.startswith("oriented"):
            raise ModelError(
                f"the model finds oriented boxes (task: obb), and `head: {head}` would take them for upright ones; "
                "leave it out, or set `head` to oriented (raw) or oriented_rows"
            )


def shape_in_words(shape: tuple[int, ...]) -> str:
    """Returns a shape with question marks for dynamic dimensions."""
    return f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"
