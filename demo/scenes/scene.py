"""Scene: renders one aerial picture with the boxes of its objects."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from demo.scenes.brush import Brush
from demo.scenes.layout import Layout
from demo.scenes.objects import BUILDING, NO_OBJECT, PLAIN_BUILDING, Item
from demo.scenes.plan import Plan, hidden_share
from demo.scenes.terrain import Ground, noise, static_noise

KINDS = {
    "suburb": 0.2,
    "town": 0.16,
    "yard": 0.15,
    "village": 0.12,
    "park": 0.1,
    "country": 0.09,
    "desert": 0.07,
    "lot": 0.11,
}
"""Probability of each kind of scene."""
LEAST_SEEN = 0.35
"""Share of an object that must be visible for it to have a box."""
LEAST_PIXELS = 6.0
"""Shortest side of a box, pixels."""
METRES_PER_PIXEL = (0.04, 0.12)
"""Range of the ground size of a pixel."""


class Scene(NamedTuple):
    """A rendered scene.

    Attributes:
        picture: uint8 [H,W,3] RGB.
        boxes: float32 [n,5]: x1, y1, x2, y2 (pixels), class index.
    """

    picture: np.ndarray
    boxes: np.ndarray


def render_scene(
    seed: int, width: int, height: int, metres_per_pixel: float | None = None, kind: str | None = None
) -> Scene:
    """Render a scene; equal arguments give equal scenes.

    Args:
        seed: seed of the only source of randomness.
        width: columns.
        height: rows.
        metres_per_pixel: ground size of a pixel; random within `METRES_PER_PIXEL` if None.
        kind: kind of scene; random with the probabilities of `KINDS` if None.

    Returns:
        The picture and the boxes of visible objects; a box excludes the shadow.
    """
    random = np.random.default_rng(seed)
    drawn = math.exp(random.uniform(*np.log(METRES_PER_PIXEL)))
    scale = 1 / (metres_per_pixel or drawn)
    chosen = str(random.choice(list(KINDS), p=list(KINDS.values())))
    light = Light(random)
    angle, tilt = random.uniform(0, 2 * math.pi), random.uniform(0.0, 0.28)
    picture = np.zeros((height, width, 3), np.uint8)
    brush = Brush(
        picture, scale, light.sun, (tilt * math.cos(angle), tilt * math.sin(angle)), float(random.uniform(0.0, 0.16))
    )
    plan = Plan(random, brush, Ground(random, width, height, scale))
    Layout(plan).build(kind or chosen)
    kept = _draw(plan, light)
    return Scene(light.expose(brush.picture, random, scale), _boxes(kept, width, height))


def _draw(plan: Plan, light: Light) -> list[Item]:
    """Draw a plan and return the objects of which enough is visible."""
    brush = plan.brush
    walls, crowns = plan.covers()
    cover = walls | crowns
    low: list[Item] = []
    kept: list[Item] = []
    for item in plan.low:
        # Nearly hidden objects are not drawn at all: visible remains without a box would confuse the training.
        hidden = hidden_share(item.pose.place(item.outline), cover)
        if hidden <= 1 - LEAST_SEEN - (0.15 if item.label != NO_OBJECT else 0.0):
            low.append(item)
    for item in plan.flat:
        item.draw(brush)
    for item in low:
        item.cast(brush)
    brush.apply_shade(light.strength, light.softness * max(0.6, plan.scale * 0.04))
    for item in sorted(low, key=lambda each: each.prisms[0][1] if each.prisms else 0.0):
        item.draw(brush)
        if item.label != NO_OBJECT:
            kept.append(item)
    for building in plan.buildings:
        building.cast(brush)
    for tree in plan.trees:
        tree.cast(brush)
    brush.apply_shade(light.strength, light.softness * max(0.8, plan.scale * 0.07))
    for building in sorted(plan.buildings, key=lambda each: each.eaves):
        building.draw(brush)
        if hidden_share(brush.lift(building.pose, building.outline, building.eaves), crowns) <= 1 - LEAST_SEEN:
            kept.append(building)
    for tree in sorted(plan.trees, key=lambda each: each.height):
        tree.draw(brush)
    return kept


def _boxes(items: list[Item], width: int, height: int) -> np.ndarray:
    """Clip boxes to the picture and drop those that are too small or mostly outside.

    Args:
        items: drawn objects.
        width: columns.
        height: rows.

    Returns:
        Float32 [n,5]: x1, y1, x2, y2 (pixels), class index.
    """
    if not items:
        return np.zeros((0, 5), np.float32)
    rows = np.array([(*item.box, item.label) for item in items], np.float64)
    whole = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
    rows[:, 0:4:2] = rows[:, 0:4:2].clip(0, width)
    rows[:, 1:4:2] = rows[:, 1:4:2].clip(0, height)
    w, h = rows[:, 2] - rows[:, 0], rows[:, 3] - rows[:, 1]
    seen = w * h >= LEAST_SEEN * whole
    # A building that fills a corner of the picture is recognisable although most of it is outside.
    seen |= (rows[:, 4] == BUILDING) & (np.minimum(w, h) >= PLAIN_BUILDING)
    return rows[seen & (np.minimum(w, h) >= LEAST_PIXELS)].astype(np.float32)


class Light:
    """Sun, haze and camera of a scene.

    Attributes:
        mood: weather and time of day: "noon", "day", "low", "overcast", "dusk" or "haze".
        sun: shadow offset in metres per metre of height.
        strength: darkness of shadows, 0..1.
        softness: relative blur of their edges.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.mood = str(
            random.choice(["noon", "day", "low", "overcast", "dusk", "haze"], p=[0.2, 0.32, 0.16, 0.14, 0.08, 0.1])
        )
        reach = {
            "noon": (0.25, 0.6),
            "day": (0.6, 1.2),
            "low": (1.3, 2.2),
            "overcast": (0.1, 0.3),
            "dusk": (0.8, 1.6),
            "haze": (0.4, 1.0),
        }[self.mood]
        angle, size = random.uniform(0, 2 * math.pi), random.uniform(*reach)
        self.sun = (size * math.cos(angle), size * math.sin(angle))
        low, high = {
            "noon": (0.5, 0.66),
            "day": (0.46, 0.62),
            "low": (0.42, 0.58),
            "overcast": (0.1, 0.22),
            "dusk": (0.2, 0.4),
            "haze": (0.2, 0.38),
        }[self.mood]
        self.strength = float(random.uniform(low, high))
        self.softness = 3.0 if self.mood == "overcast" else 1.0

    def expose(self, picture: np.ndarray, random: np.random.Generator, scale: float) -> np.ndarray:
        """Apply light, haze and the camera.

        Args:
            picture: uint8 [H,W,3] RGB.
            random: source of randomness.
            scale: pixels per metre.

        Returns:
            uint8 [H,W,3] RGB.
        """
        height, width = picture.shape[:2]
        gains = {
            "noon": (1.08, 1.07, 1.04),
            "day": (1.04, 1.02, 0.98),
            "low": (1.1, 0.98, 0.82),
            "overcast": (0.9, 0.93, 0.97),
            "dusk": (0.62, 0.6, 0.68),
            "haze": (0.82, 0.83, 0.86),
        }[self.mood]
        lift = {"haze": random.uniform(22, 60), "overcast": 6.0, "dusk": 2.0}.get(self.mood, 0.0)
        exposure = random.uniform(0.9, 1.1)
        ramp = np.arange(256, dtype=np.float64) / 255
        contrast = ramp + 0.16 * ramp * (1 - ramp) * (2 * ramp - 1)
        table = np.stack([contrast * 255 * gain * exposure + lift for gain in gains], 1)
        picture = cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8).reshape(1, 256, 3))
        # The same fine grain and coarse mottling cover objects and ground, so that they look alike.
        grain = noise(random, "grain", width, height, max(1.0, scale * 0.035))
        # The mottling is smooth: a quarter of the resolution suffices.
        mottle = noise(random, "cloud", width // 4, height // 4, scale * 0.1)
        mottle = cv2.resize(mottle, (width, height), interpolation=cv2.INTER_LINEAR)
        mixed = cv2.addWeighted(grain, 0.14, mottle, 0.1, 255 * 0.62 - 128 * 0.24)
        yy = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
        xx = np.linspace(-1, 1, width, dtype=np.float32)[None] ** 2
        dim = 1.0 - float(random.uniform(0.0, 0.13)) * (xx + yy)
        mixed = cv2.multiply(mixed, dim, dtype=cv2.CV_8U)
        picture = cv2.multiply(picture, cv2.merge([mixed, mixed, mixed]), scale=1 / (255 * 0.62))
        picture = cv2.GaussianBlur(
            picture, (0, 0), float(random.choice([0.45, 0.6, 0.8, 1.1], p=[0.35, 0.35, 0.2, 0.1]))
        )
        static = static_noise(random, width, height)
        amount = float(random.uniform(0.02, 0.09))
        return cv2.add(
            cv2.subtract(picture, np.full(3, 128 * amount)), cv2.convertScaleAbs(cv2.merge([static] * 3), alpha=amount)
        )
