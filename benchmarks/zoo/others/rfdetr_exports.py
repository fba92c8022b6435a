"""RF-DETR through its own `export` and `predict`.

.venv-zoo/bin/python -m benchmarks.zoo.others.rfdetr_exports FOLDER [ONLY]
"""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import rfdetr
import torch
from PIL import Image

from benchmarks.zoo import lively
from benchmarks.zoo.folder import CONFIDENCE, Folder, Maker, clip, make_all

BOXES = 40
"""Approximate number of pairs of query and class above the threshold, in all pictures together."""

ROUNDING = 0.05
"""Difference of confidences that is right: `predict` resizes floats, this project bytes, and the scores are steep."""

PATCHES = (384 // 16) ** 2


class Export(NamedTuple):
    """One file.

    Attributes:
        file: Its name.
        classes: Number of classes.
        options: Of RF-DETR's `export`.
    """

    file: str
    classes: int
    options: dict[str, Any]


EXPORTS = (
    Export("rfdetr_nano_5_classes.onnx", 5, {}),
    Export("rfdetr_nano_90_classes_dynamic.onnx", 90, {"dynamic_batch": True}),
)


def make(folder: Folder, path: Path, export: Export) -> dict[str, Any]:
    """Writes the file and asks for the boxes that RF-DETR's own `predict` finds."""
    torch.manual_seed(0)
    # As many queries as the picture has patches: else rounding decides which of them comes last into the decoder.
    detector = rfdetr.RFDETRNano(pretrain_weights=None, device="cpu", num_classes=export.classes, num_queries=PATCHES)
    network = detector.model.model.eval()
    pictures = {name: Image.fromarray(picture[..., ::-1]) for name, picture in folder.pictures.items()}
    first = next(iter(pictures.values()))
    lively.scale(network, lambda: detector.predict(first))
    # Random queries answer by their place in the ranking, which one grey level changes; equal ones do not.
    network.query_feat.weight.data[:] = network.query_feat.weight.data[:1].clone()
    network.refpoint_embed.weight.data[:] = network.refpoint_embed.weight.data[:1].clone()
    network.bbox_embed.layers[-1].weight.data.normal_(std=0.01)  # zeros, else: every box an anchor of one size
    last = network.class_embed
    last.weight.data *= 10  # else all queries have nearly the same score
    logits: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _module, _input, output: logits.append(output))
    scores = []
    for picture in pictures.values():
        detector.predict(picture)
        scores.append(logits[-1][-1])  # of the last decoder layer
    hook.remove()
    threshold = float(torch.logit(torch.tensor(CONFIDENCE)))
    last.bias.data += lively.shift_for(torch.cat(scores), BOXES, threshold)
    reference = {}
    for name, picture in pictures.items():
        found = detector.predict(picture, threshold=CONFIDENCE)
        rows = [
            [*box.tolist(), float(confidence), int(label)]
            for box, confidence, label in zip(found.xyxy, found.confidence, found.class_id, strict=True)
        ]
        reference[name] = clip(rows, folder.pictures[name])
    with tempfile.TemporaryDirectory() as scratch:
        written = detector.export(output_dir=scratch, verbose=False, **export.options)
        shutil.copy(written, path)
    # Whether a class is the background nothing in the file says: RF-DETR's sigmoids have none.
    keys = {"background": "none"}
    return {
        "how": f"rfdetr {version('rfdetr')}: {export}",
        "settings": keys,
        "reference": reference,
        "within_confidence": ROUNDING,
    }


def maker(export: Export) -> Maker:
    """Returns what makes one file."""
    return lambda folder, path: make(folder, path, export)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_all(__doc__, {export.file: maker(export) for export in EXPORTS})
