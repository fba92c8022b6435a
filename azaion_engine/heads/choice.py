"""Choice: recognises the head and the input form of a network from its signature and the user's word."""

from __future__ import annotations

import json
from ast import literal_eval
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from azaion_engine.errors import ConfigurationError, ModelError
from azaion_engine.heads.base import Head, Outputs
from azaion_engine.heads.end_to_end import COLUMNS, EndToEndHead
from azaion_engine.heads.signature import DYNAMIC, Signature, TensorInfo
from azaion_engine.heads.yolo import AnchorYoloHead, YoloHead
from azaion_engine.heads.yolox import YoloxGridHead, YoloxHead
from azaion_engine.pictures.input_form import InputForm
from azaion_engine.settings import DetectorSettings, HeadName

MANY = 1000
"""More columns or rows than a network selects itself: such a dimension counts anchors."""

_YOLOX_FORM = InputForm(colour="bgr", scale=255, fit="top_left")

_KNOWN = f"known are {', '.join(get_args(HeadName))} (setting `head`)"

_KEYS = (
    "set `input` to how the model was trained: {} if as Ultralytics does (RGB, 0…1, letterbox), else its keys "
    "colour, scale, mean, std, fit"
)


@dataclass(frozen=True)
class Choice:
    """What the outputs and the input of a network mean.

    Attributes:
        head: Makes rows of the outputs.
        form: How the network wants its pictures.
        notes: What was assumed, in sentences for the log.
    """

    head: Head
    form: InputForm
    notes: tuple[str, ...] = ()


def choose(
    signature: Signature, settings: DetectorSettings, look: Callable[[InputForm], Outputs] | None = None
) -> Choice:
    """Recognises a network: by the settings, then its metadata, then names and shapes of its tensors.

    Args:
        signature: What the file says.
        settings: The user's word: `head`, `input`, `task`, `nms_iou`.
        look: Runs a sample picture in this form and returns the outputs; called where the file leaves shapes or
            readings open. Without it the file's own word has to do.

    Raises:
        ModelError: It is no head that is known, or two readings remain; the message names the keys that settle it.
        ConfigurationError: The user's word does not fit the file.
    """
    task = signature.metadata.get("task", "detect")
    if task in ("segment", "pose") and settings.task != "detect":
        raise ModelError(f"the model's task is {task!r}: its boxes alone are answered with the setting `task: detect`")
    if task == "obb":
        raise ModelError("the model's boxes are oriented (task 'obb'), which this version does not answer")
    is_open = any(DYNAMIC in tensor.shape[1:] or not tensor.shape for tensor in _candidates(signature))
    if is_open and look is not None:
        signature = _with_shapes(signature, look(InputForm()))
    choice = _chosen(signature, settings)
    picture = signature.inputs[0]
    if picture.shape[1] not in (3, DYNAMIC):
        choice = replace(choice, form=replace(choice.form, layout="nhwc"))
    if picture.dtype == "uint8":
        choice = replace(choice, form=replace(choice.form, scale=255.0))
    if settings.input is not None:
        choice = replace(choice, form=replace(choice.form, **settings.input.model_dump(exclude_none=True)))
    if settings.nms_iou is not None:
        if not choice.head.selects:
            raise ConfigurationError(
                f"nms_iou: the model selects its boxes itself (head {choice.head.name!r}): nothing is left to suppress"
            )
        choice.head.iou = settings.nms_iou
    choice.head.most = settings.max_detections
    if look is not None and isinstance(choice.head, EndToEndHead):
        _check_rows(look(choice.form)[choice.head.outputs[0]], choice.head.outputs[0])
    return choice


def _chosen(signature: Signature, settings: DetectorSettings) -> Choice:
    output = _main_output(signature)
    if settings.head is not None:
        return Choice(_head_by_name(settings.head, output, signature), _form_of(settings.head, settings))
    speaks = bool(signature.metadata.get("names") or signature.metadata.get("stride"))
    rows, columns = output.shape[1:]
    if DYNAMIC in (rows, columns):
        raise ModelError(f"output {output} leaves its size open, and no picture was run; {_KNOWN}")
    if columns in (signature.anchors, 3 * signature.anchors) or columns > MANY:
        return Choice(YoloHead(output.name, _classes(signature, rows, 4)), InputForm(), _assumed(speaks, "yolo"))
    if rows == 3 * signature.anchors and columns > 5:
        return Choice(
            AnchorYoloHead(output.name, _classes(signature, columns, 5)), InputForm(), _assumed(speaks, "yolov5")
        )
    if rows == signature.anchors or rows > MANY:
        return _anchors_first(signature, output, speaks)
    if columns < COLUMNS:
        raise ModelError(f"output {output} is no head that is known; {_KNOWN}")
    if columns > COLUMNS and settings.task != "detect":
        raise ModelError(
            f"output {output} has {columns} columns a row, expected 6: with the setting `task: detect` the first six "
            "are taken as x1, y1, x2, y2, confidence, class"
        )
    if not speaks and settings.input is None:
        raise ModelError(
            f"output {output} looks like rows of boxes, but the file does not say how its pictures were prepared: "
            + _KEYS
        )
    return Choice(EndToEndHead(output.name), InputForm())


def _anchors_first(signature: Signature, output: TensorInfo, speaks: bool) -> Choice:
    columns = output.shape[2]
    named = _names(signature)
    if named and columns == 4 + named:
        return Choice(YoloHead(output.name, named, anchors_first=True), InputForm(), _assumed(speaks, "yolo"))
    if speaks and signature.metadata.get("stride"):
        return Choice(AnchorYoloHead(output.name, _classes(signature, columns, 5)), InputForm())
    decoded = signature.operators.get("Exp", 0) > 0
    head = YoloxHead if decoded else YoloxGridHead
    said = "as YOLOX always is; the file does not say so (settings `head`, `input`)"
    note = f"head {head.name!r}, input {_YOLOX_FORM}: {said}"
    return Choice(head(output.name, _classes(signature, columns, 5)), _YOLOX_FORM, (note,))


def _assumed(speaks: bool, head: str) -> tuple[str, ...]:
    if speaks:
        return ()
    return (
        f"head {head!r}, input {InputForm()}: as this family always is; the file does not say so "
        "(settings `head`, `input`)",
    )


def _head_by_name(name: str, output: TensorInfo, signature: Signature) -> Head:
    rows, columns = output.shape[1:]
    if name == "rows":
        if columns != DYNAMIC and columns < COLUMNS:
            raise ConfigurationError(f"head: 'rows' needs an output [batch, n, 6], the model has {output}")
        return EndToEndHead(output.name)
    if name == "yolo":
        first = columns != DYNAMIC and rows != DYNAMIC and rows > columns
        return YoloHead(output.name, _classes(signature, columns if first else rows, 4), anchors_first=first)
    kinds: Mapping[str, type[AnchorYoloHead]] = {
        "yolov5": AnchorYoloHead,
        "yolox": YoloxHead,
        "yolox_grid": YoloxGridHead,
    }
    if columns == DYNAMIC or columns < 6:
        raise ConfigurationError(
            f"head: {name!r} needs an output [batch, anchors, 5 + classes], the model has {output}"
        )
    return kinds[name](output.name, _classes(signature, columns, 5))


def _form_of(head: str, settings: DetectorSettings) -> InputForm:
    return _YOLOX_FORM if head.startswith("yolox") else InputForm()


def _classes(signature: Signature, values: int, before: int) -> int:
    """Returns the number of classes: as many as are named, else all values of an anchor after the first ones."""
    named, room = _names(signature), values - before
    if values == DYNAMIC:
        raise ModelError("the number of the model's classes is not stated; give the setting `head`")
    if room < 1 or named > room:
        raise ModelError(f"{values} values an anchor leave no room for {named or 1} classes after the first {before}")
    return named or room


def _names(signature: Signature) -> int:
    """Returns how many classes the metadata names; 0 if it names none or cannot be read."""
    text = signature.metadata.get("names", "")
    for read in (json.loads, literal_eval):
        try:
            return len(read(text))
        except Exception:
            continue
    return 0


def _candidates(signature: Signature) -> list[TensorInfo]:
    return [tensor for tensor in signature.outputs if len(tensor.shape) == 3 or not tensor.shape]


def _main_output(signature: Signature) -> TensorInfo:
    outputs = _candidates(signature)
    if not outputs:
        given = ", ".join(map(str, signature.outputs))
        raise ModelError(f"no output is [batch, n, m]: the model has {given}; {_KNOWN}")
    return outputs[0]


def _with_shapes(signature: Signature, outputs: Outputs) -> Signature:
    shaped = tuple(
        replace(tensor, shape=(DYNAMIC, *outputs[tensor.name].shape[1:])) if tensor.name in outputs else tensor
        for tensor in signature.outputs
    )
    return replace(signature, outputs=shaped)


def _check_rows(values: np.ndarray[Any, Any], output: str) -> None:
    """Refuses rows that are none: of one picture, confidences in 0…1 and whole classes."""
    rows = values.reshape(-1, values.shape[-1])
    confidence, classes = rows[:, 4], rows[:, 5]
    if not np.isfinite(rows[:, :COLUMNS]).all():
        return  # judged row by row where boxes are made
    if (confidence < 0).any() or (confidence > 1).any():
        raise ModelError(
            f"output {output!r} is no row of x1, y1, x2, y2, confidence, class: column 5 is not a confidence, it is "
            f"{float(confidence.min()):.3g} to {float(confidence.max()):.3g} on a sample picture; {_KNOWN}"
        )
    if (classes != np.rint(classes)).any():
        raise ModelError(
            f"output {output!r} is no row of x1, y1, x2, y2, confidence, class: column 6 has fractions; {_KNOWN}"
        )
    if len(rows) and confidence.max() > 0.05 and np.abs(rows[:, :4]).max() <= 2:
        raise ModelError(
            f"output {output!r} has boxes of at most {float(np.abs(rows[:, :4]).max()):.2g} pixels: "
            "they are not in pixels of the network input"
        )
