"""Lively weights: scales a network with random weights so that its answers depend on the picture.

Through random weights activations fade from layer to layer until all pictures get the same rows. Each convolution is
scaled until its output has a standard deviation of 1 on a picture, as normalisation does in a trained network; then the
class scores are spread, and shifted so that some exceed a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

SPREAD = 0.8
"""Standard deviation of the class logits afterwards."""


def scale(network: torch.nn.Module, run: Callable[[], object], fixed: Iterable[torch.nn.Module] = ()) -> None:
    """Scales each convolution's weights in place, in the order of use; one that is used again keeps its first scale.

    Args:
        network: In evaluation mode.
        run: Runs the network on a picture.
        fixed: Layers whose weights are constants.
    """
    done = set(fixed)

    def normalise(layer: torch.nn.Module, _: object, output: torch.Tensor) -> torch.Tensor | None:
        if layer in done:
            return None
        done.add(layer)
        spread = output.std().clamp(min=1e-6)
        for weights in layer.parameters(recurse=False):
            weights.data /= spread
        return output / spread

    hooks = [
        layer.register_forward_hook(normalise) for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            run()
    finally:
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


def spread(network: torch.nn.Module, picture: torch.Tensor, head: torch.nn.Module, deviation: float) -> None:
    """Moves and scales the logits of a softmax, so that each has this standard deviation over the queries.

    Args:
        network: In evaluation mode.
        picture: float32 `[1, 3, height, width]`.
        head: The last layer, `[1, queries, classes]`; it has a bias.
        deviation: 3 makes most classes confident.
    """
    values: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda _module, _input, output: values.append(output.flatten(0, -2)))
    with torch.no_grad():
        network(picture)
    hook.remove()
    factors = deviation / values[-1].std(0).clamp(min=1e-6)
    head.bias.data = (head.bias.data - values[-1].mean(0)) * factors
    head.weight.data *= factors[:, None]


def shift_for(logits: torch.Tensor, boxes: int, at: float = 0.0) -> float:
    """Returns what to add to logits so that about `boxes` of them exceed `at`.

    The shift lies in the middle of the widest gap near that number, so that rounding moves none across it.
    """
    ranked = logits.flatten().sort(descending=True).values
    near = ranked[boxes // 2 : boxes * 2]
    gap = int((near[:-1] - near[1:]).argmax())
    return at - float(near[gap] + near[gap + 1]) / 2
