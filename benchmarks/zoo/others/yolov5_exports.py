"""YOLOv5 classic (anchors and objectness) through the package `yolov5`: its network, `letterbox` and suppression.

.venv-zoo/bin/python -m benchmarks.zoo.others.yolov5_exports FOLDER [ONLY]
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yolov5
from yolov5.models.yolo import DetectionModel
from yolov5.utils.augmentations import letterbox
from yolov5.utils.general import non_max_suppression, scale_boxes

from benchmarks.zoo import lively
from benchmarks.zoo.folder import CONFIDENCE, Folder, Maker, clip, make_all

CANDIDATES = 60
"""Approximate number of the first picture's candidates whose objectness exceeds one half."""

ROUNDED_GAIN = 1.0
"""Pixels within which corners are right: `scale_boxes` divides both axes by one gain, though each was rounded."""


class Export(NamedTuple):
    """One file.

    Attributes:
        file: Its name.
        classes: Number of classes.
        dynamic: Whether batch, height and width are dynamic.
        named: Whether stride and class names are in the metadata, as YOLOv5's own `export_onnx` writes them.
    """

    file: str
    classes: int
    dynamic: bool = False
    named: bool = True


EXPORTS = (
    Export("yolov5n_classic_80_classes.onnx", 80),
    Export("yolov5n_classic_1_class.onnx", 1),
    Export("yolov5n_classic_1_class_anonymous.onnx", 1, named=False),
    Export("yolov5n_classic_dynamic_batch.onnx", 5, dynamic=True),
)


def make(folder: Folder, path: Path, export: Export) -> dict[str, Any]:
    """Writes the file and asks for the boxes that YOLOv5's own suppression finds."""
    torch.manual_seed(0)
    definition = Path(yolov5.__file__).parent / "models" / "yolov5n.yaml"
    model = DetectionModel(str(definition), nc=export.classes).eval()
    inputs = {}
    for name, picture in folder.pictures.items():
        padded = letterbox(picture, (640, 640), stride=32, auto=False)[0][:, :, ::-1].transpose(2, 0, 1)
        inputs[name] = torch.from_numpy(np.ascontiguousarray(padded)).float()[None] / 255
    first = next(iter(inputs.values()))
    lively.scale(model, lambda: model(first))
    with torch.no_grad():
        objectness = torch.logit(model(first)[0][0, :, 4].double())
    shift = lively.shift_for(objectness, CANDIDATES)
    detect = model.model[-1]
    for layer in detect.m:
        bias = layer.bias.data.view(detect.na, -1)
        bias[:, 4] += shift
        bias[:, 5:] += 1  # else hardly any product of two scores reaches the threshold
    reference = {}
    for name, batch in inputs.items():
        with torch.no_grad():
            [found] = non_max_suppression(model(batch)[0], CONFIDENCE, 0.45, max_det=300)
        scale_boxes(batch.shape[2:], found[:, :4], folder.pictures[name].shape)
        reference[name] = clip(found.tolist(), folder.pictures[name])
    write(model, first, path, export)
    how = f"yolov5 {version('yolov5')}: {export}"
    return {"how": how, "reference": reference, "within_px": ROUNDED_GAIN}


def write(model: DetectionModel, picture: torch.Tensor, path: Path, export: Export) -> None:
    """Exports as YOLOv5's `export.py` does; its own function needs packages that no longer install."""
    model.model[-1].export = True
    model.model[-1].dynamic = export.dynamic
    axes: dict[str, Any] = {"images": {0: "batch"}, "output0": {0: "batch"}}
    torch.onnx.export(
        model,
        (picture,),
        path,
        input_names=["images"],
        output_names=["output0"],
        dynamic_axes=axes if export.dynamic else None,
        opset_version=12,
        dynamo=False,
    )
    if export.named:
        import onnx

        proto = onnx.load(path)
        names = {i: f"class{i}" for i in range(export.classes)}
        for key, value in {"stride": int(max(model.stride)), "names": names}.items():
            proto.metadata_props.add(key=key, value=str(value))
        onnx.save(proto, path)


def maker(export: Export) -> Maker:
    """Returns what makes one file."""
    return lambda folder, path: make(folder, path, export)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_all(__doc__, {export.file: maker(export) for export in EXPORTS})
