"""Props: trees, and distractors that teach the detector what is not an object."""

from __future__ import annotations

import math

import numpy as np

from demo.scenes.brush import Brush, Colour, Pose, blend, ellipse, rectangle, tint
from demo.scenes.objects import NO_OBJECT, Item, pick

LEAVES: list[Colour] = [(58, 82, 38), (70, 94, 44), (48, 70, 40), (84, 100, 48), (96, 92, 42), (132, 96, 44)]
BRIGHT: list[Colour] = [(196, 60, 50), (52, 104, 168), (230, 226, 214), (88, 140, 92), (222, 180, 70), (92, 94, 98)]


class Tree:
    """A crown of leaf clumps.

    Attributes:
        x, y: place of the trunk, pixels.
        radius: crown radius, pixels.
        height: metres.
    """

    def __init__(
        self, random: np.random.Generator, x: float, y: float, radius: float, height: float, leaf: Colour
    ) -> None:
        self.random, self.x, self.y, self.radius, self.height, self.leaf = random, x, y, radius, height, leaf
        count = int(np.clip(radius * 1.1, 9, 42))
        angle = random.uniform(0, 2 * math.pi, count)
        away = np.sqrt(random.uniform(0.0, 1.0, count)) * 0.74
        self.clumps = np.stack(
            (
                np.cos(angle) * away,
                np.sin(angle) * away,
                random.uniform(0.22, 0.4, count),
                random.uniform(0.86, 1.12, count),
            ),
            1,
        )
        # A brown conifer would look like a palm: only green crowns become conifers.
        self.conifer = random.random() < 0.2 and leaf[1] > leaf[0] * 1.2

    def centre(self, brush: Brush) -> np.ndarray:
        """Centre of the crown in the oblique view, float [2] pixels."""
        return np.array((self.x, self.y)) + brush.rise(self.x, self.y, self.height * 0.6)

    def cast(self, brush: Brush) -> None:
        """Add the shadow: every second clump, at two distances along the direction of the sun."""
        sun = np.array(brush.sun) * brush.scale * self.height
        for k in range(0, len(self.clumps), 2):
            cx, cy, r, _ = self.clumps[k] * self.radius
            for share in (0.4, 0.8):
                pose = Pose(self.x + cx + sun[0] * share, self.y + cy + sun[1] * share, 0, 1)
                brush.cast(pose, ellipse(0, 0, r * 1.15, r * 1.15, 9), 0.0)

    def draw(self, brush: Brush) -> None:
        """Draw the crown, lit from the sun's side."""
        centre = self.centre(brush)
        size = math.hypot(*brush.sun)
        sunny = -np.array(brush.sun) / size if size > 1e-6 else np.zeros(2)
        if self.conifer:
            for k in range(7):
                share = 1 - k / 7
                at = centre + sunny * (1 - share) * self.radius * 0.25
                points = ellipse(0, 0, self.radius * share, self.radius * share, 18)
                points[::2] *= 0.72
                brush.fill(points + at, tint(self.leaf, 0.6 + 0.12 * k), measure=False)
            return
        for level, (gain, shrink, shift) in enumerate(
            ((0.55, 1.0, 0.0), (0.8, 0.8, 0.1), (1.02, 0.5, 0.2), (1.22, 0.24, 0.27))
        ):
            for cx, cy, r, vary in self.clumps[level :: 1 if level < 2 else 2]:
                at = centre + (np.array((cx, cy)) * (1 - 0.12 * level) + sunny * shift) * self.radius
                brush.disc(at[0], at[1], max(r * shrink * self.radius, 0.7), tint(self.leaf, gain * vary))


def make_prop(random: np.random.Generator, pose: Pose, kind: str) -> Item:
    """Make a distractor.

    Args:
        random: source of randomness.
        pose: place, heading and scale.
        kind: "rock", "bin", "manhole", "sign", "pallet", "tarp", "pool",
            "container", "bench", "pole" or "table".

    Returns:
        The item, with label -1.
    """
    item = Item(NO_OBJECT, pose, ellipse(0, 0, 0.5, 0.5, 8))
    if kind == "rock":
        size = random.uniform(0.25, 1.1)
        points = ellipse(0, 0, size, size * random.uniform(0.6, 1.0), 9) * random.uniform(0.75, 1.15, (9, 1))
        grey = pick(random, [(128, 122, 114), (150, 144, 134), (108, 100, 92)])
        item.prisms.append((points, size * 0.8, 0.0))
        item.add(points, tint(grey, 0.75), 0.1)
        item.add(points * 0.75 - 0.1 * size, grey, 0.3)
        item.add(points * 0.4 - 0.16 * size, blend(grey, (255, 255, 255), 0.2), 0.5)
    elif kind == "bin":
        colour = pick(random, [(44, 74, 52), (50, 58, 70), (96, 80, 40), (70, 72, 74)])
        item.prisms.append((rectangle(-0.35, -0.3, 0.35, 0.3), 1.1, 0.0))
        item.add(rectangle(-0.35, -0.3, 0.35, 0.3), tint(colour, 0.7), 0.4)
        item.add(rectangle(-0.32, -0.27, 0.32, 0.27, 0.06), colour, 1.0)
    elif kind == "manhole":
        item.add(ellipse(0, 0, 0.36, 0.36, 14), (52, 51, 50), 0)
        item.add(ellipse(0, 0, 0.29, 0.29, 14), (86, 82, 78), 0)
    elif kind == "sign":
        item.prisms.append((rectangle(-0.05, -0.05, 0.05, 0.05), 2.4, 0.0))
        item.prisms.append((rectangle(-0.06, -0.4, 0.06, 0.4), 2.5, 1.8))
        item.add(rectangle(-0.08, -0.4, 0.08, 0.4), pick(random, BRIGHT), 2.4)
    elif kind == "pallet":
        wood = pick(random, [(168, 134, 92), (140, 110, 78)])
        item.prisms.append((rectangle(-0.6, -0.5, 0.6, 0.5), 0.5, 0.0))
        item.add(rectangle(-0.6, -0.5, 0.6, 0.5), tint(wood, 0.6), 0)
        for at in np.arange(-0.6, 0.55, 0.24):
            item.add(rectangle(at, -0.5, at + 0.16, 0.5), wood, 0.2)
    elif kind == "tarp":
        w, h = random.uniform(1.2, 3.2), random.uniform(1.0, 2.4)
        points = rectangle(-w / 2, -h / 2, w / 2, h / 2) + random.uniform(-0.25, 0.25, (4, 2))
        colour = pick(random, BRIGHT)
        item.prisms.append((points, 0.25, 0.0))
        item.add(points, colour, 0.05)
        item.add(np.array([points[0], points[2], points[3]]), tint(colour, 0.9), 0.05)
    elif kind == "pool":
        w, h = random.uniform(3.0, 5.0), random.uniform(1.8, 2.8)
        item.outline = rectangle(-w - 0.6, -h - 0.6, w + 0.6, h + 0.6)
        item.add(rectangle(-w - 0.5, -h - 0.5, w + 0.5, h + 0.5, 0.4), (206, 198, 184), 0)
        item.add(rectangle(-w, -h, w, h, 0.8), (70, 150, 176), 0)
        item.add(rectangle(-w + 0.3, -h + 0.3, w - 0.2, h - 0.2, 0.8), (96, 182, 204), 0)
    elif kind == "container":
        colour = pick(random, [(156, 70, 48), (52, 88, 128), (70, 106, 84), (176, 148, 84), (120, 122, 126)])
        x, y = (3.05 if random.random() < 0.5 else 6.1), 1.22
        item.outline = rectangle(-x, -y, x, y)
        item.prisms.append((item.outline, 2.6, 0.0))
        item.add(item.outline, tint(colour, 0.6), 0.5)
        item.add(item.outline, colour, 2.6)
        for at in np.arange(-x + 0.2, x, 0.42):
            item.add(rectangle(at, -y + 0.08, at + 0.16, y - 0.08), tint(colour, 0.84), 2.6)
    elif kind == "bench":
        wood = pick(random, [(140, 100, 66), (112, 84, 60)])
        item.prisms.append((rectangle(-0.25, -0.8, 0.25, 0.8), 0.5, 0.0))
        for at in (-0.25, -0.05, 0.15):
            item.add(rectangle(at, -0.8, at + 0.13, 0.8), wood, 0.45)
    elif kind == "pole":
        item.prisms.append((ellipse(0, 0, 0.09, 0.09, 6), 6.5, 0.0))
        for step in range(8):
            item.add(ellipse(0, 0, 0.09, 0.09, 6), (132, 134, 138), step * 0.8)
        item.add(rectangle(-0.1, -0.15, 1.2, 0.15, 0.1), (168, 170, 172), 6.5)
    else:  # a table under a parasol
        colour = pick(random, BRIGHT)
        item.prisms.append((ellipse(0, 0, 1.2, 1.2, 8), 2.3, 2.1))
        disc = ellipse(0, 0, 1.25, 1.25, 8)
        for k in range(8):
            wedge = np.array([(0.0, 0.0), disc[k], disc[(k + 1) % 8]])
            item.add(wedge, tint(colour, 1.0 if k % 2 else 0.84), 2.2)
    return item
