"""YOLOX-Nano through YOLOX's own network, `preproc` and `postprocess`: undecoded, decoded, one class, dynamic batch.

    python -m benchmarks.zoo.others.yolox_exports FOLDER

The sdist of YOLOX has no wheel and old requirements: see `requirements.txt` beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from torch import nn
from yolox import __version__
from yolox.data.data_augment import preproc
from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
from yolox.models.network_blocks import SiLU
from yolox.utils import postprocess, replace_module

from benchmarks.zoo.others import entries, scaled_layers

BOXES = 60
"""Approximate number of candidates whose objectness exceeds one half."""


class Export(NamedTuple):
    """One file.

    Attributes:
        file: Its name.
        classes: Number of classes.
        size: Height and width of the network input.
        decoded: Whether `--decode_in_inference` is given.
        dynamic: Whether the batch is dynamic.
    """

    file: str
    classes: int = 80
    size: tuple[int, int] = (416, 416)
    decoded: bool = False
    dynamic: bool = False


EXPORTS = (
    Export("yolox_nano_raw.onnx"),
    Export("yolox_nano_decoded.onnx", decoded=True),
    Export("yolox_nano_decoded_dynamic.onnx", decoded=True, dynamic=True),
    Export("yolox_nano_raw_1_class.onnx", classes=1),
    Export("yolox_nano_decoded_1_class.onnx", classes=1, decoded=True),
    Export("yolox_nano_raw_rectangle.onnx", classes=5, size=(320, 640)),
)


def make(folder: Path, export: Export) -> None:
    """Writes the file and the boxes that YOLOX's own postprocessing finds."""
    torch.manual_seed(0)
    backbone = YOLOPAFPN(0.33, 0.25, depthwise=True)
    model = YOLOX(backbone, YOLOXHead(export.classes, 0.25, depthwise=True)).eval()
    images = {name: cv2.imread(str(entries.PICTURES / name)) for name in entries.SAMPLES}
    inputs = {name: preproc(image, export.size) for name, image in images.items()}
    first = torch.from_numpy(inputs[entries.SAMPLES[0]][0])[None]
    scaled_layers.scale(model, lambda: model(first))
    with torch.no_grad():
        objectness = torch.logit(model(first)[0, :, 4].double())
    shift = scaled_layers.shift_for(objectness, BOXES)
    for layer in model.head.obj_preds:
        layer.bias.data += shift
    for layer in model.head.cls_preds:
        layer.bias.data += 2  # else hardly any product of two scores reaches the threshold
    reference = {}
    for name, (array, ratio) in inputs.items():
        with torch.no_grad():
            [found] = postprocess(
                model(torch.from_numpy(array)[None]), export.classes, entries.THRESHOLD, 0.45, class_agnostic=False
            )
        height, width = images[name].shape[:2]
        rows = [] if found is None else [[*(r[:4] / ratio).tolist(), float(r[4] * r[5]), float(r[6])] for r in found]
        reference[name] = entries.clip(rows, width, height)
    model = replace_module(model, nn.SiLU, SiLU)
    model.head.decode_in_inference = export.decoded
    axes: dict[str, Any] = {"images": {0: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(
        model,
        (first,),
        folder / export.file,
        input_names=["images"],
        output_names=["output"],
        dynamic_axes=axes if export.dynamic else None,
        opset_version=13,
        dynamo=False,
    )
    entries.add(folder, export.file, f"yolox {__version__}, as tools/export_onnx.py: {export}", reference)


if __name__ == "__main__":
    entries.make_all(__doc__, EXPORTS, make)
