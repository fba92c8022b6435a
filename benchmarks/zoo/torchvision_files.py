"""Detectors of torchvision, exported by torch.onnx, and what the networks themselves answer.

.venv-zoo/bin/python -m benchmarks.zoo.torchvision_files FOLDER [ONLY]

They resize, normalise and suppress inside the file; the picture is stretched to the input's size before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from torchvision.models import detection

from benchmarks.zoo.folder import CONFIDENCE, Answers, Folder, Maker, clip, make_all
from benchmarks.zoo.lively import scale, shift

SIZE = 320
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    # file: (function of torchvision.models.detection, its arguments)
    "fasterrcnn": (
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        {"box_score_thresh": CONFIDENCE, "rpn_score_thresh": 0.0, "min_size": SIZE},
    ),
    "retinanet": ("retinanet_resnet50_fpn", {"score_thresh": CONFIDENCE, "min_size": SIZE}),
    "ssd": ("ssdlite320_mobilenet_v3_large", {"score_thresh": CONFIDENCE}),
    "fcos": ("fcos_resnet50_fpn", {"score_thresh": CONFIDENCE, "min_size": SIZE}),
}


class Export(torch.nn.Module):
    """A detector of one picture, with tensors instead of a dictionary."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Wraps the model."""
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns boxes in pixels of the input, scores and labels."""
        [found] = self.model([images[0]])
        return found["boxes"], found["scores"], found["labels"]


def make(folder: Folder, path: Path, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Makes one file, and asks the network for its boxes."""
    torch.manual_seed(7)
    model = getattr(detection, function)(weights=None, weights_backbone=None, num_classes=6, **arguments).eval()
    network = Export(model)
    pictures = {name: stretched(picture) for name, picture in folder.pictures.items()}
    first = next(iter(pictures.values()))
    enliven(network, first)
    torch.onnx.export(
        network,
        (first,),
        path,
        input_names=["images"],
        output_names=["boxes", "scores", "labels"],
        opset_version=17,
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers: Answers = {}
    for name, given in pictures.items():
        boxes, scores, labels = session.run(None, {"images": given.numpy()})
        height, width = folder.pictures[name].shape[:2]
        rows = np.concatenate([boxes * np.array([width, height] * 2) / SIZE, scores[:, None], labels[:, None]], axis=1)
        answers[name] = clip(rows[scores > CONFIDENCE], folder.pictures[name])
    return {"how": f"{function}: {arguments}", "settings": {"input": {"fit": "stretch"}}, "reference": answers}


def stretched(picture: np.ndarray) -> torch.Tensor:
    """Returns float32 `[1, 3, SIZE, SIZE]`, RGB 0..1."""
    resized = cv2.resize(picture[..., ::-1], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized.transpose(2, 0, 1).copy()).float()[None] / 255


def enliven(network: torch.nn.Module, picture: torch.Tensor) -> None:
    """Scales the convolutions, and spreads the scores of the last layers."""
    scale(network, lambda: network(picture))
    for name, layer in network.named_modules():
        if name.endswith("cls_score"):  # Faster R-CNN: a softmax over classes and background
            layer.weight.data *= 4.0 / layer.weight.norm(dim=1, keepdim=True)
        elif name.endswith("cls_logits"):
            shift(network, picture, [layer], 20)


def maker(function: str, arguments: dict[str, Any]) -> Maker:
    """Returns what makes one file."""
    return lambda folder, path: make(folder, path, function, arguments)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_all(__doc__, {f"torchvision_{name}.onnx": maker(*file) for name, file in FILES.items()})
