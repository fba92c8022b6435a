"""Lively weights: scales a network with random weights so that its answers depend on the picture.

Through random weights activations fade from layer to layer until all pictures get the same rows. Each convolution is
scaled until its output has a standard deviation of 1 on a picture, as normalisation does in a trained network; then the
class scores are spread, and shifted so that some exceed a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

SPREAD = 0.8
"""Standard deviation of the class logits afterwards."""


def scale(network: torch.nn.Module, picture: torch.Tensor, fixed: Iterable[torch.nn.Module] = ()) -> None:
    """Scales each convolution's weights in place, in the order of use.

    Args:
        network: In evaluation mode.
        picture: float32 `[1, 3, height, width]`, as the network takes it.
        fixed: Layers whose weights are constants.
    """
    kept = set(fixed)

    def normalise(layer: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor:
        spread = output.std().clamp(min=1e-6)
        for weights in layer.parameters(recurse=False):
            weights.data /= spread
        return output / spread

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d) and layer not in kept]
    hooks = [layer.register_forward_hook(normalise) for layer in layers]
    with torch.no_grad():
        network(picture)
    for hook in hooks:
        hook.remove()


def shift(
    network: torch.nn.Module, picture: torch.Tensor, heads: list[torch.nn.Module], above: int, confidence: float = 0.25
) -> None:
    """Spreads the logits of the classes, and moves them so that about `above` values exceed the confidence.

    Args:
        network: In evaluation mode.
        picture: float32 `[1, 3, height, width]`.
        heads: The last layers, one a level or only one; they have a bias.
        above: Number of candidates (not values) whose best class shall exceed the confidence.
        confidence: 0 to 1, of a sigmoid.
    """
    values: list[torch.Tensor] = []

    def keep(_: torch.nn.Module, __: object, output: torch.Tensor) -> None:
        best = output.amax(1) if output.ndim == 4 else output.amax(-1)
        values.append(best.flatten())

    hooks = [layer.register_forward_hook(keep) for layer in heads]
    with torch.no_grad():
        network(picture)
    for hook in hooks:
        hook.remove()
    if not values:  # these heads are used in training only
        return
    ranked = torch.cat(values).sort(descending=True).values
    # Between two values: none may lie on the threshold itself, where rounding and `>` or `>=` would decide.
    last = min(above, len(ranked) - 2)
    threshold, spread = float(ranked[last : last + 2].mean()), float(ranked.std().clamp(min=1e-6))
    logit = math.log(confidence / (1 - confidence))
    for layer in heads:
        layer.bias.data = (layer.bias.data - threshold) / spread * SPREAD + logit
        layer.weight.data *= SPREAD / spread
