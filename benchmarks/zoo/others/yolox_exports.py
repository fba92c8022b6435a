"""YOLOX-Nano through YOLOX's own network, `preproc` and `postprocess`: undecoded, decoded, one class, dynamic batch.

    .venv-zoo/bin/python -m benchmarks.zoo.others.yolox_exports FOLDER [ONLY]

The sdist of YOLOX has no wheel and old requirements: see `requirements.txt` beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from yolox import __version__
from yolox.data.data_augment import preproc
from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
from yolox.models.network_blocks import SiLU
from yolox.utils import postprocess, replace_module

from benchmarks.zoo import lively
from benchmarks.zoo.folder import CONFIDENCE, Folder, Maker, clip, make_all

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


def make(folder: Folder, path: Path, export: Export) -> dict[str, Any]:
    """Writes the file and asks for the boxes that YOLOX's own postprocessing finds."""
    torch.manual_seed(0)
    backbone = YOLOPAFPN(0.33, 0.25, depthwise=True)
    model = YOLOX(backbone, YOLOXHead(export.classes, 0.25, depthwise=True)).eval()
    inputs = {name: preproc(picture, export.size) for name, picture in folder.pictures.items()}
    first = torch.from_numpy(next(iter(inputs.values()))[0])[None]
    lively.scale(model, lambda: model(first))
    with torch.no_grad():
        objectness = torch.logit(model(first)[0, :, 4].double())
    shift = lively.shift_for(objectness, BOXES)
    for layer in model.head.obj_preds:
        layer.bias.data += shift
    for layer in model.head.cls_preds:
        layer.weight.data *= 0.5  # else scores of 1 decide by rounding which class is the best one
        layer.bias.data += 2  # else hardly any product of two scores reaches the threshold
    for layer in model.head.reg_preds:
        layer.weight.data *= 0.2  # else sizes, which are powers of e, reach millions of pixels
    reference = {}
    for name, (array, ratio) in inputs.items():
        with torch.no_grad():
            [found] = postprocess(
                model(torch.from_numpy(array)[None]), export.classes, CONFIDENCE, 0.45, class_agnostic=False
            )
        rows = [] if found is None else [[*(r[:4] / ratio).tolist(), float(r[4] * r[5]), float(r[6])] for r in found]
        reference[name] = clip(rows, folder.pictures[name])
    model = replace_module(model, nn.SiLU, SiLU)
    model.head.decode_in_inference = export.decoded
    axes: dict[str, Any] = {"images": {0: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(
        model,
        (first,),
        path,
        input_names=["images"],
        output_names=["output"],
        dynamic_axes=axes if export.dynamic else None,
        opset_version=13,
        dynamo=False,
    )
    return {"how": f"yolox {__version__}, as tools/export_onnx.py: {export}", "reference": reference}


def maker(export: Export) -> Maker:
    """Returns what makes one file."""
    return lambda folder, path: make(folder, path, export)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_all(__doc__, {export.file: maker(export) for export in EXPORTS})
