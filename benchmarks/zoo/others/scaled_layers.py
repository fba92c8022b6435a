"""Scaled layers: scales a PyTorch detector with random weights so that its answers depend on the picture.

What `benchmarks.library.lively_model` does to an ONNX file, done before the export, so that the exporter's own pipeline
and the file have the same weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def scale(model: nn.Module, run: Callable[[], object]) -> None:
    """Scales each convolution to outputs of a standard deviation of 1, in the order in which `run` calls them.

    Args:
        model: In evaluation mode; changed in place. A convolution that is called several times keeps its first scale.
        run: Runs the model on a picture.
    """
    scaled: set[nn.Module] = set()

    def scale(module: nn.Module, _: object, output: torch.Tensor) -> torch.Tensor | None:
        if module in scaled:
            return None
        scaled.add(module)
        spread = output.std()
        for parameter in module.parameters(recurse=False):
            parameter.data /= spread
        return output / spread

    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    hooks = [module.register_forward_hook(scale) for module in convolutions]
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()


def shift_for(logits: torch.Tensor, boxes: int, at: float = 0.0) -> float:
    """Returns what to add to logits so that about `boxes` of them exceed `at`.

    The shift lies in the middle of the widest gap near that number, so that rounding moves none across it.
    """
    ranked = logits.flatten().sort(descending=True).values
    near = ranked[boxes // 2 : boxes * 2]
    gap = int((near[:-1] - near[1:]).argmax())
    return at - float(near[gap] + near[gap + 1]) / 2
