"""Detectors of transformers, exported by torch.onnx, and what the image processor of each answers with the outputs.

.venv-zoo/bin/python -m benchmarks.zoo.transformers_files FOLDER [ONLY]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
import transformers
from numpy.typing import NDArray
from transformers.utils import ModelOutput

from benchmarks.zoo.folder import CONFIDENCE, Answers, Folder, Maker, clip, make_all
from benchmarks.zoo.lively import scale, shift, spread

SIZE = 320
SOFTMAX_SPREAD = 3.0
"""Standard deviation of logits whose softmax has confident classes."""

MOST = 300
"""Boxes that this project answers at most."""

SMALL = {"encoder_layers": 2, "decoder_layers": 2, "num_hidden_layers": 4}
"""Fewer layers than the published models have, for those that would take minutes to export; the outputs are alike."""

ANTIALIASED = {"input": {"resampling": "antialiased"}}
"""The image processors resize as Pillow does; the family's files are taken for OpenCV's way unless this key is set."""


def resnet(levels: tuple[int, ...] = (1, 2, 3, 4)) -> Any:
    """Returns the configuration of a small backbone without weights from a hub."""
    return transformers.TimmBackboneConfig(
        backbone="resnet18", out_indices=list(levels), use_pretrained_backbone=False, features_only=True
    )


FILES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    # file: (architecture, image processor, configuration, keys that settle what the file does not say). `size` and
    # `dynamo` are this script's: RF-DETR's windows need a multiple of 56; the older exporter gives Deformable DETR's
    # GridSample a grid of doubles, which ONNX Runtime does not run, and cannot write RF-DETR's resizing.
    "detr": ("Detr", "Detr", {"backbone_config": resnet, "num_labels": 7}, {"background": "last", **ANTIALIASED}),
    "conditional_detr": (
        "ConditionalDetr",
        "ConditionalDetr",
        {"backbone_config": resnet, "num_labels": 5, "num_queries": 100},
        {"background": "none", **ANTIALIASED},
    ),
    "deformable_detr": (
        "DeformableDetr",
        "DeformableDetr",
        {"backbone_config": lambda: resnet((2, 3, 4)), "num_labels": 7, "num_queries": 100, "dynamo": True},
        {"background": "none", **ANTIALIASED},
    ),
    "rtdetr": ("RTDetr", "RTDetr", {"num_labels": 6}, {}),
    "rtdetrv2": ("RTDetrV2", "RTDetr", {"num_labels": 80}, {}),
    "dfine": ("DFine", "RTDetr", {"num_labels": 9}, {}),
    "yolos": (
        "Yolos",
        "Yolos",
        {"num_labels": 5, "image_size": [SIZE, SIZE], "hidden_size": 192, "num_attention_heads": 3},
        {"background": "last", **ANTIALIASED},
    ),
    "rf_detr": (
        "RfDetr",
        "RfDetr",
        {"num_labels": 7, "num_queries": 576, "size": 336, "dynamo": True},
        {"background": "none"},
    ),
}


class Export(torch.nn.Module):
    """A model with two tensors as its outputs."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Wraps the model."""
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns logits and boxes."""
        found = self.model(pixel_values=pixel_values)
        return found.logits, found.pred_boxes


def make(
    folder: Folder, path: Path, names: tuple[str, str], configuration: dict[str, Any], keys: dict[str, Any]
) -> dict[str, Any]:
    """Makes one file, and asks the image processor for the boxes at both confidences."""
    architecture, kind = names
    torch.manual_seed(5)
    small = {} if architecture in ("RTDetr", "RTDetrV2", "DFine", "RfDetr") else SMALL
    configuration = {**small, **configuration}
    configuration = {key: value() if callable(value) else value for key, value in configuration.items()}
    size, dynamo = configuration.pop("size", SIZE), configuration.pop("dynamo", False)
    config = getattr(transformers, f"{architecture}Config")(**configuration)
    model = getattr(transformers, f"{architecture}ForObjectDetection")(config).eval()
    processor = getattr(transformers, f"{kind}ImageProcessor")(size={"height": size, "width": size}, do_pad=False)
    # RF-DETR's processor resizes floats without averaging: less than a grey level beside resized bytes, of which random
    # weights make pixels.
    resizes_floats = architecture == "RfDetr"
    pictures = {
        name: processor(
            images=(resized(picture, size) if resizes_floats else picture)[..., ::-1].copy(), return_tensors="pt"
        )["pixel_values"]
        for name, picture in folder.pictures.items()
    }
    first = next(iter(pictures.values()))
    network = Export(model)
    enliven(network, first, config.num_labels, keys.get("background") == "last")
    torch.onnx.export(
        network,
        (first,),
        path,
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        opset_version=18 if dynamo else 17,
        dynamo=dynamo,
        external_data=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers: dict[str, Answers] = {"reference": {}, "reference_low": {}}
    for name, given in pictures.items():
        logits, boxes = map(torch.from_numpy, session.run(None, {"pixel_values": given.numpy()}))
        outputs = ModelOutput(logits=logits, pred_boxes=boxes)
        picture = folder.pictures[name]
        for confidence, found in zip((CONFIDENCE, 0.001), answers.values(), strict=True):
            [result] = processor.post_process_object_detection(
                outputs, threshold=confidence, target_sizes=[picture.shape[:2]]
            )
            rows = torch.cat([result["boxes"], result["scores"][:, None], result["labels"][:, None].float()], dim=1)
            found[name] = clip(rows[rows[:, 4].argsort(descending=True)].numpy(), picture)[:MOST]
    return {"how": f"{architecture}ForObjectDetection, {kind}ImageProcessor", "settings": keys, **answers}


def resized(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Returns the picture in the network's size, interpolated linearly."""
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)


def enliven(network: torch.nn.Module, picture: torch.Tensor, labels: int, softmax: bool) -> None:
    """Scales the backbone, spreads boxes and classes; before training, queries and their boxes are all alike."""
    scale(network, lambda: network(picture))
    for name, layer in network.named_modules():
        if name.endswith(("query_feat", "reference_point_embed")):
            # RF-DETR gives each place the query of its rank, which rounding may change: all queries are alike.
            torch.nn.init.zeros_(layer.weight)
        elif isinstance(layer, torch.nn.Embedding) and "quer" in name:
            torch.nn.init.normal_(layer.weight)
        elif isinstance(layer, torch.nn.Linear) and "bbox" in name:
            spread_of_boxes = 1.5 if layer.out_features == 4 else 1.0
            torch.nn.init.normal_(layer.weight, std=spread_of_boxes / layer.in_features**0.5)
    for name, parameter in network.named_parameters():
        if name.endswith("detection_tokens"):
            torch.nn.init.normal_(parameter)
    heads = [
        layer
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and "class" in name and layer.out_features in (labels, labels + 1)
    ]
    heads += [layer for name, layer in network.named_modules() if name.endswith("enc_score_head")]
    for layer in heads:
        if softmax:
            spread(network, picture, layer, SOFTMAX_SPREAD)
        else:
            shift(network, picture, [layer], 60)


def maker(architecture: str, kind: str, configuration: dict[str, Any], keys: dict[str, Any]) -> Maker:
    """Returns what makes one file."""
    return lambda folder, path: make(folder, path, (architecture, kind), configuration, keys)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    make_all(__doc__, {f"transformers_{name}.onnx": maker(*file) for name, file in FILES.items()})
