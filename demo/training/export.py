"""Export of a trained checkpoint to ONNX, with checks against torch."""

from __future__ import annotations

import argparse
import copy
import datetime
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from demo.scenes.objects import CLASS_NAMES
from demo.training.model import AerialDetector, ConvBlock, DeployedDetector

OPSET = 17
DESCRIPTION = "azaion-engine demonstration detector, trained on rendered aerial scenes"
CHECKED_SHAPES = ((1, 640, 640), (3, 640, 640), (1, 1280, 1280), (3, 640, 448))
"""Batch, height and width of the inputs for which ONNX Runtime is compared with torch."""


def fuse(detector: AerialDetector) -> AerialDetector:
    """Return a copy in evaluation mode with batch normalisation folded into the convolutions."""
    fused = copy.deepcopy(detector).float().cpu().eval()
    for block in [module for module in fused.modules() if isinstance(module, ConvBlock)]:
        block.conv = nn.utils.fuse_conv_bn_eval(block.conv, block.norm)
        block.norm = nn.Identity()  # type: ignore[assignment]
    return fused


def export_onnx(detector: AerialDetector, path: Path) -> None:
    """Write the deployed detector and its metadata as ONNX.

    Args:
        detector: the trained detector.
        path: file to write.
    """
    model = DeployedDetector(fuse(detector)).eval().to(memory_format=torch.contiguous_format)
    axes = {0: "batch", 2: "height", 3: "width"}
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.rand(2, 3, 640, 640),),
            str(path),
            input_names=["images"],
            output_names=["output0"],
            dynamic_axes={"images": axes, "output0": {0: "batch"}},
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    graph = onnx.load(str(path))
    shape = graph.graph.output[0].type.tensor_type.shape.dim
    for axis, length in ((1, model.limit), (2, 6)):
        shape[axis].ClearField("dim_param")
        shape[axis].dim_value = length
    metadata = {
        "names": str(dict(enumerate(CLASS_NAMES))),
        "task": "detect",
        "stride": "32",
        "batch": "1",
        "imgsz": "[1280, 1280]",
        "author": "azaion-engine contributors",
        "description": DESCRIPTION,
        "license": "Apache-2.0",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    onnx.helper.set_model_props(graph, metadata)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(path))


def check_onnx(detector: AerialDetector, path: Path) -> float:
    """Compare ONNX Runtime with torch on several shapes.

    Args:
        detector: the detector that was exported.
        path: the exported file.

    Returns:
        The largest difference of a confident box corner, in pixels.

    Raises:
        RuntimeError: if the outputs differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model = DeployedDetector(fuse(detector)).eval()
    random = np.random.default_rng(0)
    worst = 0.0
    for batch, height, width in CHECKED_SHAPES:
        small = random.random((batch, 3, height // 8, width // 8), np.float32)
        images = np.ascontiguousarray(small.repeat(8, 2).repeat(8, 3))
        (got,) = session.run(None, {"images": images})
        with torch.no_grad():
            want = model(torch.from_numpy(images)).numpy()
        if got.shape != (batch, model.limit, 6):
            raise RuntimeError(f"output shape {got.shape} for input {images.shape}")
        if not np.allclose(got[:, :, 4], want[:, :, 4], atol=1e-3):
            raise RuntimeError(f"confidences differ for input {images.shape}")
        # Runtimes approximate the sigmoid: near-equal logits may give confidences in the other order.
        if (np.diff(got[:, :, 4], axis=1) > 1e-6).any():
            raise RuntimeError("rows are not sorted by confidence")
        # Rows of near-equal confidence may change places: compare each row with the nearest one.
        for mine, theirs in zip(got, want, strict=True):
            distance = np.abs(mine[:, None, :] - theirs[None]).max(2).min(1)
            distance = distance[mine[:, 4] > np.float32(1e-3) + mine[-1, 4]]
            worst = max(worst, float(distance.max(initial=0.0)))
    if worst > 0.5:
        raise RuntimeError(f"rows differ by {worst:.3f}")
    return worst


def main() -> None:
    """Export a checkpoint to ONNX."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("model", type=Path)
    options = parser.parse_args()
    detector = AerialDetector()
    state = torch.load(options.checkpoint, map_location="cpu", weights_only=True)
    detector.load_state_dict(state["model"])
    export_onnx(detector, options.model)
    worst = check_onnx(detector, options.model)
    size = options.model.stat().st_size / 1e6
    print(f"{options.model}: {size:.2f} MB, largest difference {worst:.5f}")


if __name__ == "__main__":
    main()
