"""Site: the ground of a scene: its painted areas, its roads, and what all of its blocks have in common."""

from __future__ import annotations

import cv2
import numpy as np

from demo.scenes.brush import SHIFT, Colour, rectangle
from demo.scenes.plan import Plan
from demo.scenes.props import LEAVES

PAINT: Colour = (206, 206, 200)
"""Road and parking markings."""


class Site:
    """Paints the ground of a plan.

    Attributes:
        plan: where objects are placed.
        random: source of randomness.
        picture: uint8 [H,W,3] RGB.
        leaf: colour of most trees.
        busy: density of traffic and people, 0.4..1.
        roads: (centre, half width, upright) of each road, frame metres; an upright road runs along v, others along u.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.random = plan, plan.random
        self.picture = plan.brush.picture
        self.leaf = LEAVES[int(self.random.integers(len(LEAVES)))]
        self.busy = float(self.random.uniform(0.4, 1.0))
        self.roads: list[tuple[float, float, bool]] = []

    def area(self, u1: float, v1: float, u2: float, v2: float, name: str, **options: float) -> None:
        """Paint a rectangle of the frame with a material."""
        self.plan.ground.paint(self.picture, self.plan.pixels(rectangle(u1, v1, u2, v2)), name, **options)

    def lines(self, segments: list[tuple[float, float, float, float]], colour: Colour, metres: float) -> None:
        """Draw painted lines (frame metres) of a width in metres."""
        if not segments:
            return
        points = self.plan.pixels(np.array(segments).reshape(-1, 2)).reshape(-1, 2, 2)
        fixed = np.round(points * (1 << SHIFT)).astype(np.int32)
        thick = max(1, round(metres * self.plan.scale))
        cv2.polylines(self.picture, list(fixed), False, colour, thick, cv2.LINE_AA, SHIFT)

    def on_road(self, u: float, v: float, margin: float) -> bool:
        """Whether a frame point lies on a carriageway grown by a margin."""
        return any(abs((u if upright else v) - c) < h + margin for c, h, upright in self.roads)
