"""Model: `AerialDetector`, a compact centre-point detector that needs no NMS.

A backbone of 3x3 and 1x1 convolutions goes down to stride 32, because a building may span several hundred pixels. A
feature pyramid goes back up to stride 4, because a person spans about ten. Every cell predicts one logit per class and
the four distances to the sides of its object. The deployed graph therefore consists of convolutions, one 3x3 max-pool,
one TopK and one gather.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.scenes.objects import CLASS_NAMES

STRIDE = 4
"""Pixels per cell of the output maps."""
DISTANCE_UNIT = 16.0
"""Pixels per unit of distance; keeps FP16 activations small."""
LOG_DISTANCE_LIMIT = 5.0
"""Largest log-distance: exp(5) * 16 = 2374 pixels, longer than any object."""
MAX_DETECTIONS = 300
"""Rows of the output."""
SUPPRESSED_LOGIT = -50.0
"""Logit of cells that are not a peak; its sigmoid is about 2e-22."""


class ConvBlock(nn.Module):
    """Convolution, batch normalisation and ReLU.

    ReLU instead of SiLU, because every runtime fuses it into the convolution.
    """

    def __init__(self, cin: int, cout: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [B,cin,H,W] to float [B,cout,H/stride,W/stride]."""
        return functional.relu(self.norm(self.conv(x)))


class SplitBlock(nn.Module):
    """Cross-stage block: residual 3x3 pairs on half of the channels."""

    def __init__(self, cin: int, cout: int, depth: int) -> None:
        super().__init__()
        half = cout // 2
        self.left = ConvBlock(cin, half, 1)
        self.right = ConvBlock(cin, half, 1)
        self.pairs = nn.ModuleList(nn.Sequential(ConvBlock(half, half), ConvBlock(half, half)) for _ in range(depth))
        self.join = ConvBlock((2 + depth) * half, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [B,cin,H,W] to float [B,cout,H,W]."""
        parts = [self.left(x), self.right(x)]
        for pair in self.pairs:
            parts.append(parts[-1] + pair(parts[-1]))
        return self.join(torch.cat(parts, 1))


class PyramidPool(nn.Module):
    """Three chained 5x5 max-pools, which see 13x13 cells of stride 32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = ConvBlock(channels, channels // 2, 1)
        self.join = ConvBlock(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map float [B,C,H,W] to float [B,C,H,W]."""
        parts = [self.squeeze(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.join(torch.cat(parts, 1))


class Branch(nn.Module):
    """One 3x3 block and the last 1x1 convolution of an output map."""

    def __init__(self, cin: int, hidden: int, cout: int, bias: float) -> None:
        super().__init__()
        self.block = ConvBlock(cin, hidden)
        self.last = nn.Conv2d(hidden, cout, 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.constant_(self.last.bias, bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map float [B,cin,H,W] to float [B,cout,H,W]."""
        return self.last(self.block(x))


class AerialDetector(nn.Module):
    """Backbone, pyramid and the two output branches."""

    def __init__(self, num_classes: int = len(CLASS_NAMES)) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Sequential(ConvBlock(3, 16, 3, 2), ConvBlock(16, 32, 3, 2))
        self.stage4 = SplitBlock(32, 32, 1)
        self.stage8 = nn.Sequential(ConvBlock(32, 64, 3, 2), SplitBlock(64, 64, 2))
        self.stage16 = nn.Sequential(ConvBlock(64, 128, 3, 2), SplitBlock(128, 128, 2))
        self.stage32 = nn.Sequential(ConvBlock(128, 192, 3, 2), SplitBlock(192, 192, 2), PyramidPool(192))
        self.neck16 = SplitBlock(192 + 128, 128, 1)
        self.neck8 = SplitBlock(128 + 64, 64, 1)
        self.reduce8 = ConvBlock(64, 32, 1)
        self.neck4 = SplitBlock(32 + 32, 32, 1)
        # The bias starts every confidence at 0.03 (RetinaNet's prior), which keeps the first focal losses small.
        self.heat = Branch(32, 32, num_classes, -math.log((1 - 0.03) / 0.03))
        self.sides = Branch(32, 32, 4, 0.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the output maps.

        Args:
            images: float [B,3,H,W], RGB 0..1, H and W multiples of 32.

        Returns:
            Class logits float [B,C,H/4,W/4], and logarithms float [B,4,H/4,W/4] of the distances (left, top, right,
            bottom) in units of 16 pixels.
        """
        f4 = self.stage4(self.stem(images))
        f8 = self.stage8(f4)
        f16 = self.stage16(f8)
        f32 = self.stage32(f16)
        p16 = self.neck16(torch.cat((_double(f32), f16), 1))
        p8 = self.neck8(torch.cat((_double(p16), f8), 1))
        p4 = self.neck4(torch.cat((_double(self.reduce8(p8)), f4), 1))
        return self.heat(p4), self.sides(p4)


def _double(x: Tensor) -> Tensor:
    """Upsample float [B,C,H,W] to [B,C,2H,2W] by nearest neighbour."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def decode_sides(raw: Tensor) -> Tensor:
    """Turn log-distances into boxes.

    Args:
        raw: float [B,4,h,w] from the network.

    Returns:
        Float32 [B,4,h,w]: x1, y1, x2, y2 in input pixels.
    """
    reach = torch.exp(raw.float().clamp(-LOG_DISTANCE_LIMIT, LOG_DISTANCE_LIMIT)) * DISTANCE_UNIT
    height, width = raw.shape[2], raw.shape[3]
    # The grid is added before flattening. Computed later, it would need division and modulo of TopK's INT64 indices,
    # which TensorRT 8.6 lacks.
    xs = (torch.arange(width, device=raw.device).float() + 0.5) * STRIDE
    ys = (torch.arange(height, device=raw.device).float() + 0.5) * STRIDE
    xs, ys = xs.view(1, 1, 1, -1), ys.view(1, 1, -1, 1)
    left, top, right, bottom = reach[:, 0:1], reach[:, 1:2], reach[:, 2:3], reach[:, 3:4]
    return torch.cat((xs - left, ys - top, xs + right, ys + bottom), 1)


class DeployedDetector(nn.Module):
    """The detector with decoding, as it is exported."""

    def __init__(self, detector: AerialDetector, limit: int = MAX_DETECTIONS) -> None:
        super().__init__()
        self.detector = detector
        self.limit = limit

    def forward(self, images: Tensor) -> Tensor:
        """Detect objects.

        Args:
            images: float32 [B,3,H,W], RGB 0..1, H and W multiples of 32.

        Returns:
            Float32 [B,300,6], sorted by falling confidence: x1, y1, x2, y2 (input pixels), confidence, class.
        """
        logits, raw = self.detector(images)
        logits = logits.float()
        # Peaks are found on the logits: the sigmoid is monotone, but rounds confident neighbours to equal values.
        peaks = functional.max_pool2d(logits, 3, 1, 1)
        logits = torch.where(logits == peaks, logits, SUPPRESSED_LOGIT)
        best = logits.amax(1).flatten(1)
        labels = logits.argmax(1, keepdim=True).float()
        rows = torch.cat((decode_sides(raw), labels), 1).flatten(2)
        scores, index = torch.topk(best, self.limit, 1)
        # Concatenation instead of `expand`, which would export shape arithmetic.
        picked = torch.cat((index.unsqueeze(1),) * 5, 1)
        rows = torch.gather(rows, 2, picked).transpose(1, 2)
        return torch.cat((rows[:, :, :4], torch.sigmoid(scores).unsqueeze(2), rows[:, :, 4:]), 2)
