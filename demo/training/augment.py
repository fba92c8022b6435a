"""Augmenter: random crops, turns and colours for whole batches, on the training device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from demo.scenes.objects import BUILDING, PLAIN_BUILDING

SMALLEST_BOX = 4.5
"""Shortest side of a box, pixels: a cell cannot resolve smaller ones, so they are dropped."""
KEPT_SHARE = 0.35
"""Share of a box that must lie in the crop."""
MAX_BOXES = 224
"""Most boxes of a crop; the largest beyond are dropped."""


class Augmenter:
    """Draws random training batches from scenes that are kept as uint8 on the device."""

    def __init__(self, pictures: Tensor, boxes: Tensor, size: int, seed: int) -> None:
        """Keep the scenes.

        Args:
            pictures: uint8 [N,S,S,3] RGB on the training device.
            boxes: float32 [N,n,5] on the same device, scene pixels, padded with class -1.
            size: side of the crops, pixels.
            seed: seed of the random numbers.
        """
        self.pictures, self.boxes, self.size = pictures, boxes, size
        self.device = pictures.device
        self.random = torch.Generator(device=self.device).manual_seed(seed)

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=self.device) * (high - low) + low

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Draw a batch.

        Returns:
            Float32 [count,3,size,size] RGB 0..1 and float32 [count,k,5] boxes,
            smallest first, padded with class -1.
        """
        index = torch.randint(len(self.pictures), (count, 4), generator=self.random, device=self.device)
        side = self.pictures.shape[1]
        tiles = self.pictures[index].view(count, 2, 2, side, side, 3)
        canvas = tiles.permute(0, 5, 1, 3, 2, 4).reshape(count, 3, 2 * side, 2 * side)
        # A triangular distribution from 0.5 to 1.5: most crops stay near the rendered scale.
        scale = 1 + 0.5 * (self._uniform(0, 1, count) - self._uniform(0, 1, count))
        window = self.size / scale
        spot = self._uniform(0, 1, count, 2)
        anywhere = spot * (2 * side - window)[:, None]
        tile = torch.randint(2, (count, 2), generator=self.random, device=self.device) * side
        within = tile + spot * (side - window)[:, None]
        fits = (window <= side) & (self._uniform(0, 1, count) < 0.75)
        centre = torch.where(fits[:, None], within, anywhere) + window[:, None] / 2
        turn = self._turns(count)
        theta = torch.cat((turn * (window / (2 * side))[:, None, None], (centre / side - 1)[:, :, None]), 2)
        grid = functional.affine_grid(theta, [count, 3, self.size, self.size], align_corners=False)
        images = functional.grid_sample(canvas.float().div_(255.0), grid, "bilinear", "border", align_corners=False)
        offsets = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=self.device) * side
        boxes = self._move(self.boxes[index], offsets, centre, scale, turn)
        return self._colour(images), boxes

    def _turns(self, count: int) -> Tensor:
        """Random flips and quarter turns, float32 [count,2,2]."""
        signs = torch.randint(2, (count, 2), generator=self.random, device=self.device) * 2.0 - 1
        flat = torch.diag_embed(signs)
        swap = torch.rand(count, generator=self.random, device=self.device) < 0.5
        return torch.where(swap[:, None, None], flat.flip(2), flat)

    def _move(self, boxes: Tensor, offsets: Tensor, centre: Tensor, scale: Tensor, turn: Tensor) -> Tensor:
        """Map float32 [B,4,n,5] boxes from scenes to crops, [B,k,5]."""
        corners = boxes[..., :4].unflatten(-1, (2, 2)) + offsets[None, :, None, None, :]
        moved = (corners.flatten(1, 2) - centre[:, None, None]) * scale[:, None, None, None]
        # `theta` maps crop to scene; the transposed matrix inverts the turn. The sum is written out because a matrix
        # product may run in TF32, whose rounding can move a corner by a pixel.
        moved = (moved[..., None] * turn[:, None, None]).sum(3) + self.size / 2
        low, high = moved.amin(2), moved.amax(2)
        area = (high - low).prod(-1)
        low, high = low.clamp(0, self.size), high.clamp(0, self.size)
        extent = high - low
        kept = extent.prod(-1)
        label = boxes[..., 4].flatten(1, 2)
        short = extent.amin(-1)
        whole = (kept > KEPT_SHARE * area) | ((label == BUILDING) & (short >= PLAIN_BUILDING))
        valid = (label >= 0) & whole & (short >= SMALLEST_BOX)
        order = torch.where(valid, kept, torch.full_like(kept, 1e9)).argsort(1)[:, :MAX_BOXES]
        rows = torch.cat((low, high, torch.where(valid, label, -1.0)[..., None]), 2)
        return rows.gather(1, order[..., None].expand(-1, -1, 5))

    def _colour(self, images: Tensor) -> Tensor:
        """Vary light, colour, sharpness and noise of float32 [B,3,H,W]."""
        count = len(images)
        # Negative values sharpen, positive ones blur.
        soft = self._uniform(-0.4, 1.0, count, 1, 1, 1)
        soft = torch.where(self._uniform(0, 1, count, 1, 1, 1) < 0.4, soft, 0.0)
        images = images + soft * (functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) - images)
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * self._uniform(0.5, 1.35, count, 1, 1, 1)
        images = images * self._uniform(0.93, 1.07, count, 3, 1, 1)
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * self._uniform(0.75, 1.25, count, 1, 1, 1)
        images = images * self._uniform(0.75, 1.25, count, 1, 1, 1)
        images = images.clamp(1e-3, 1.0) ** torch.exp(self._uniform(-0.3, 0.3, count, 1, 1, 1))
        strength = self._uniform(0.0, 0.03, count, 1, 1, 1) ** 1.0
        noise = torch.randn(images.shape, generator=self.random, device=self.device)
        return (images + noise * strength).clamp(0, 1)
