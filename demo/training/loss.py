"""Loss: training targets and losses of the centre-point detector."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from demo.training.model import STRIDE, decode_sides

SPREAD = 0.54
"""Share of a box that its Gaussian bump covers (alpha in TTFNet)."""
REGION_FLOOR = 0.02
"""Value of a bump up to which a cell learns no box."""
CHUNK = 16
"""Pictures whose [n,h,w] bumps are in memory at the same time."""


class Targets:
    """Dense targets of a batch.

    Attributes:
        heat: float32 [B,C,h,w], 1 at the centre cell of each object.
        boxes: float32 [B,4,h,w], the box that each cell shall predict, pixels.
        weights: float32 [B,h,w], weight of each cell in the box loss; the weights of one object sum to 1, so that a
            person counts as much as a building.
        count: float32 scalar, number of objects.
    """

    def __init__(self, heat: Tensor, boxes: Tensor, weights: Tensor, count: Tensor) -> None:
        self.heat, self.boxes, self.weights, self.count = heat, boxes, weights, count


@torch.no_grad()
def make_targets(boxes: Tensor, num_classes: int, height: int, width: int) -> Targets:
    """Build dense targets on the device of the boxes.

    Args:
        boxes: float32 [B,n,5], x1,y1,x2,y2,class in input pixels, smallest first, padded with class -1.
        num_classes: number of classes.
        height: rows of the input, pixels.
        width: columns of the input, pixels.

    Returns:
        The targets at stride 4.
    """
    rows, columns = height // STRIDE, width // STRIDE
    parts = [_make_chunk(part, num_classes, rows, columns) for part in boxes.split(CHUNK)]
    heat, dense, weights = (torch.cat(group) for group in zip(*parts, strict=True))
    return Targets(heat, dense, weights, (boxes[..., 4] >= 0).sum().float())


def _make_chunk(boxes: Tensor, num_classes: int, rows: int, columns: int) -> tuple[Tensor, ...]:
    """Build the heat, box and weight targets of a few pictures."""
    valid = boxes[..., 4] >= 0
    gx = _bump(boxes[..., 0], boxes[..., 2], columns)
    gy = _bump(boxes[..., 1], boxes[..., 3], rows) * valid[..., None]
    bumps = gy[:, :, :, None] * gx[:, :, None, :]
    heat = torch.stack([(bumps * (boxes[..., 4] == label)[..., None, None]).amax(1) for label in range(num_classes)], 1)
    # Boxes come smallest first and argmax returns the first maximum: a cell belongs to the smallest object there, so a
    # car beside a building keeps its cells.
    inside = bumps > REGION_FLOOR
    owner = inside.to(torch.uint8).argmax(1, keepdim=True)
    height = torch.gather(bumps, 1, owner).squeeze(1) * inside.any(1)
    flat = owner.flatten(1)
    totals = torch.zeros(boxes.shape[:2], device=boxes.device).scatter_add_(1, flat, height.flatten(1))
    weights = height / totals.gather(1, flat).view_as(height).clamp_min(1e-6)
    dense = boxes[..., :4].gather(1, flat[..., None].expand(-1, -1, 4))
    return heat, dense.transpose(1, 2).reshape(-1, 4, rows, columns), weights


def _bump(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """One-dimensional bump float32 [B,n,cells], exactly 1 at the centre cell."""
    centre = ((low + high) / 2 / STRIDE).floor().clamp(0, cells - 1)
    radius = ((high - low) / 2 / STRIDE * SPREAD).floor()
    sigma = (2 * radius + 1) / 6
    grid = torch.arange(cells, device=low.device, dtype=low.dtype)
    return torch.exp(-((grid - centre[..., None]) ** 2) / (2 * sigma[..., None] ** 2))


def detector_loss(logits: Tensor, raw: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Penalty-reduced focal loss (CenterNet) and GIoU loss.

    Args:
        logits: float [B,C,h,w].
        raw: float [B,4,h,w], log-distances as `decode_sides` takes them.
        targets: targets of the same cells.

    Returns:
        Two float32 scalars: the heat loss and the box loss.
    """
    logits = logits.float()
    count = targets.count.clamp_min(1.0)
    log_p, log_q = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    p = logits.sigmoid()
    hit = (targets.heat >= 1.0).float()
    positive = hit * (1 - p) ** 2 * log_p
    negative = (1 - hit) * (1 - targets.heat) ** 4 * p**2 * log_q
    heat = -(positive + negative).sum() / count
    giou = generalised_iou(decode_sides(raw), targets.boxes)
    box = ((1 - giou) * targets.weights).sum() / targets.weights.sum().clamp_min(1.0)
    return heat, box


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """GIoU float32 [B,h,w] of two float32 [B,4,h,w] maps of boxes."""
    ax1, ay1, ax2, ay2 = a.unbind(1)
    bx1, by1, bx2, by2 = b.unbind(1)
    wide = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_min(0)
    high = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_min(0)
    common = wide * high
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - common
    hull = (torch.maximum(ax2, bx2) - torch.minimum(ax1, bx1)) * (torch.maximum(ay2, by2) - torch.minimum(ay1, by1))
    # The minimum of one pixel keeps the result finite for cells without an object, whose box is all zeros.
    return common / union.clamp_min(1.0) - (hull - union) / hull.clamp_min(1.0)
