"""Objects: vehicles and people.

An object consists of flat parts, drawn from the bottom up, and of prisms that cast its shadow. Local axes are in
metres; x points forward. An oblique view shifts each part according to its height.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from demo.scenes.brush import Brush, Colour, Pose, blend, ellipse, rectangle, tint

CLASS_NAMES = ("car", "truck", "building", "person")
CAR, TRUCK, BUILDING, PERSON, NO_OBJECT = 0, 1, 2, 3, -1
"""Indices into `CLASS_NAMES`; -1 is a distractor, an object without a box."""
PLAIN_BUILDING = 48.0
"""Shorter side, pixels, from which a building that is cut off has a box, however little of it is seen."""

CAR_COLOURS: list[Colour] = [
    (224, 226, 228),
    (204, 206, 208),
    (150, 153, 157),
    (98, 101, 106),
    (40, 42, 46),
    (30, 31, 34),
    (158, 34, 32),
    (112, 26, 32),
    (38, 66, 124),
    (62, 104, 158),
    (196, 190, 170),
    (116, 92, 62),
    (44, 78, 58),
    (214, 172, 48),
    (212, 112, 40),
    (94, 130, 146),
]
BOX_COLOURS: list[Colour] = [
    (232, 232, 230),
    (214, 214, 210),
    (188, 190, 192),
    (226, 216, 196),
    (52, 84, 140),
    (170, 44, 40),
    (60, 110, 78),
    (220, 166, 52),
    (120, 124, 130),
]
SKIN: list[Colour] = [(232, 194, 166), (208, 160, 126), (160, 112, 80), (106, 72, 52)]
HAIR: list[Colour] = [(34, 28, 24), (60, 42, 30), (110, 78, 46), (168, 140, 92), (150, 148, 146)]
CLOTHES: list[Colour] = [
    (198, 42, 40),
    (38, 74, 150),
    (236, 236, 232),
    (32, 33, 38),
    (240, 196, 62),
    (62, 128, 82),
    (226, 120, 48),
    (130, 78, 142),
    (96, 158, 190),
    (190, 190, 186),
    (84, 92, 66),
    (216, 132, 156),
]
GLASS: Colour = (40, 50, 60)


@dataclasses.dataclass
class Item:
    """One object or distractor.

    Attributes:
        label: class index, or -1 for a distractor.
        pose: place, heading and scale.
        outline: ground outline float [n,2], local metres.
        parts: (polygon, colour, height in metres) from the bottom up.
        prisms: (polygon, top, bottom) that cast shadows, metres.
        box: extent in pixels once drawn.
    """

    label: int
    pose: Pose
    outline: np.ndarray
    parts: list[tuple[np.ndarray, Colour, float]] = dataclasses.field(default_factory=list)
    prisms: list[tuple[np.ndarray, float, float]] = dataclasses.field(default_factory=list)
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def add(self, points: np.ndarray, colour: Colour, height: float) -> None:
        """Append a part."""
        self.parts.append((points, colour, height))

    def cast(self, brush: Brush) -> None:
        """Add the shadow to the brush's mask."""
        # People are drawn enlarged: their shadows grow with them.
        ratio = self.pose.scale / brush.scale
        for points, top, bottom in self.prisms:
            brush.cast(self.pose, points, top * ratio, bottom * ratio)

    def draw(self, brush: Brush) -> None:
        """Draw the parts and measure the box."""
        ratio = self.pose.scale / brush.scale
        brush.begin()
        for points, colour, height in self.parts:
            brush.shape(self.pose, points, colour, height * ratio)
        self.box = brush.box()


def pick(random: np.random.Generator, colours: list[Colour]) -> Colour:
    """Choose a colour and vary it a little."""
    base = colours[int(random.integers(len(colours)))]
    jitter = random.uniform(0.9, 1.08)
    return tuple(float(np.clip(c * jitter + random.uniform(-7, 7), 0, 255)) for c in base)  # type: ignore[return-value]


def contact(item: Item, points: np.ndarray, height: float) -> None:
    """Add a shadow prism that stands on the ground."""
    item.prisms.append((points, height, 0.0))


def make_car(random: np.random.Generator, pose: Pose) -> Item:
    """Make a passenger car (saloon, hatchback, estate, pickup or taxi)."""
    style = random.choice(["saloon", "hatch", "estate", "pickup"], p=[0.4, 0.28, 0.24, 0.08])
    length = {"saloon": 4.6, "hatch": 4.0, "estate": 4.7, "pickup": 5.2}[style] * random.uniform(0.94, 1.06)
    width = random.uniform(1.76, 1.94)
    x, y = length / 2, width / 2
    colour = pick(random, CAR_COLOURS)
    item = Item(CAR, pose, rectangle(-x, -y, x, y))
    body = rectangle(-x, -y, x, y, 0.5)
    contact(item, body, 1.25)
    item.add(body, tint(colour, 0.62), 0.15)
    item.add(rectangle(-x + 0.06, -y + 0.07, x - 0.06, y - 0.07, 0.45), colour, 0.55)
    for side in (-1, 1):  # wing mirrors and lamps
        item.add(rectangle(0.55, side * y - 0.09, 0.75, side * y + 0.09), tint(colour, 0.8), 0.7)
        item.add(ellipse(x - 0.22, side * (y - 0.33), 0.15, 0.2, 8), (236, 236, 222), 0.5)
        item.add(ellipse(-x + 0.14, side * (y - 0.33), 0.1, 0.22, 8), (150, 26, 24), 0.5)
    item.add(rectangle(x - 1.35, -y + 0.22, x - 0.4, y - 0.22, 0.3), blend(colour, (255, 255, 255), 0.1), 0.62)
    tail = {"saloon": -x + 0.75, "hatch": -x + 0.2, "estate": -x + 0.18, "pickup": -0.55}[style]
    nose = x - 1.25
    item.add(_trapezium(tail, nose, y - 0.2, y - 0.14), GLASS, 0.85)
    roof_tail = tail + (0.55 if style in ("saloon", "pickup") else 0.4)
    roof_nose = nose - 0.75
    roof = blend(colour, (255, 255, 255), 0.07)
    item.add(rectangle(roof_tail, -y + 0.3, roof_nose, y - 0.3, 0.2), roof, 1.35)
    if random.random() < 0.25:
        item.add(rectangle(roof_tail + 0.5, -y + 0.5, roof_nose - 0.25, y - 0.5, 0.1), (34, 38, 44), 1.37)
    else:
        shine = blend(roof, (255, 255, 255), 0.3)
        item.add(rectangle(roof_tail + 0.2, -y + 0.42, roof_nose - 0.2, -y + 0.56), shine, 1.37)
    glare = blend(GLASS, (190, 210, 228), random.uniform(0.25, 0.7))
    item.add(_trapezium(roof_nose + 0.12, nose - 0.06, y - 0.36, y - 0.28), glare, 1.0)
    if style == "pickup":
        item.add(rectangle(-x + 0.14, -y + 0.2, tail - 0.1, y - 0.2), tint(colour, 0.4), 0.6)
    if random.random() < 0.05:
        item.add(rectangle(-0.75, -0.2, -0.45, 0.2), (246, 206, 64), 1.5)
    return item


def _trapezium(x1: float, x2: float, half1: float, half2: float) -> np.ndarray:
    """Quadrilateral between two cross-sections, float64 [4,2]."""
    return np.array([(x1, -half1), (x2, -half2), (x2, half2), (x1, half1)], np.float64)


def make_truck(random: np.random.Generator, pose: Pose) -> Item:
    """Make a lorry: box, tipper, tanker or flatbed, rigid or articulated."""
    articulated = random.random() < 0.45
    cargo = random.choice(["box", "flat", "tipper", "tank"], p=[0.55, 0.15, 0.17, 0.13])
    length = random.uniform(12.5, 16.0) if articulated else random.uniform(7.0, 9.8)
    width = random.uniform(2.42, 2.6)
    x, y = length / 2, width / 2
    cab = random.uniform(1.9, 2.3)
    colour, load = pick(random, CAR_COLOURS), pick(random, BOX_COLOURS)
    item = Item(TRUCK, pose, rectangle(-x, -y, x, y))
    gap = random.uniform(0.5, 0.9) if articulated else 0.22
    front = x - cab
    back = rectangle(-x, -y, front - gap, y)
    contact(item, rectangle(front, -y, x, y, 0.2), 2.9)
    tall = {"box": 3.7, "flat": 1.3, "tipper": 2.6, "tank": 3.3}[cargo]
    contact(item, back, tall)
    item.add(rectangle(-x + 0.1, -y + 0.25, front + 0.2, y - 0.25), (42, 42, 44), 0.9)
    for axle in (-x + 1.1, -x + 2.4, front - 1.3 if articulated else front - 0.9):
        for side in (-1, 1):
            item.add(
                rectangle(axle - 0.5, side * (y - 0.17) - 0.17, axle + 0.5, side * (y - 0.17) + 0.17, 0.1),
                (28, 28, 30),
                0.6,
            )
    item.add(rectangle(front, -y, x, y, 0.22), tint(colour, 0.66), 0.6)
    item.add(rectangle(front + 0.05, -y + 0.08, x - 0.18, y - 0.08, 0.22), colour, 2.4)
    item.add(_trapezium(x - 0.62, x - 0.2, y - 0.22, y - 0.14), blend(GLASS, (180, 200, 220), 0.3), 2.1)
    item.add(rectangle(front + 0.1, -y + 0.22, x - 0.72, y - 0.22, 0.12), blend(colour, (255, 255, 255), 0.12), 2.8)
    if random.random() < 0.5:
        item.add(rectangle(front + 0.25, -0.5, front + 0.95, 0.5), tint(colour, 0.75), 2.85)
    for side in (-1, 1):
        item.add(rectangle(x - 0.55, side * y - 0.16, x - 0.3, side * y + 0.16), (36, 36, 38), 1.8)
    _add_load(item, random, str(cargo), load, -x, front - gap, y)
    return item


def _add_load(
    item: Item, random: np.random.Generator, cargo: str, colour: Colour, x1: float, x2: float, y: float
) -> None:
    """Add the rear of a lorry between x1 and x2, half-width y."""
    if cargo == "box":
        item.add(rectangle(x1, -y, x2, y), tint(colour, 0.68), 1.2)
        item.add(rectangle(x1, -y, x2, y, 0.06), tint(colour, 0.8), 3.5)
        item.add(rectangle(x1 + 0.1, -y + 0.1, x2 - 0.1, y - 0.1), colour, 3.7)
        for at in np.arange(x1 + 1.2, x2 - 0.4, random.uniform(1.0, 2.2)):
            item.add(rectangle(at, -y + 0.1, at + 0.09, y - 0.1), tint(colour, 0.87), 3.7)
        if random.random() < 0.3:
            item.add(rectangle(x2 - 0.8, -y + 0.4, x2 - 0.15, y - 0.4), (206, 208, 210), 3.9)
    elif cargo == "tank":
        item.add(rectangle(x1, -y + 0.1, x2, y - 0.1, 0.7), tint(colour, 0.6), 1.2)
        for share, gain in ((0.95, 0.75), (0.7, 0.92), (0.4, 1.08)):
            item.add(
                rectangle(x1 + 0.1, -y * share + 0.1, x2 - 0.1, y * share - 0.1, 0.6), tint(colour, min(gain, 1.0)), 3.2
            )
        for at in np.arange(x1 + 1.2, x2 - 0.9, 1.9):
            item.add(ellipse(at, 0, 0.26, 0.26, 10), (70, 72, 76), 3.3)
    elif cargo == "tipper":
        sand = pick(random, [(150, 124, 90), (108, 104, 98), (92, 70, 50), (186, 164, 124)])
        item.add(rectangle(x1, -y, x2, y), tint(colour, 0.7), 1.2)
        item.add(rectangle(x1, -y, x2, y), colour, 2.4)
        item.add(rectangle(x1 + 0.15, -y + 0.15, x2 - 0.15, y - 0.15), tint(sand, 0.62), 2.2)
        item.add(ellipse((x1 + x2) / 2, 0.05, (x2 - x1) * 0.42, y - 0.32, 14), tint(sand, 0.9), 2.4)
        item.add(ellipse((x1 + x2) / 2 - 0.2, -0.15, (x2 - x1) * 0.25, y * 0.45, 12), sand, 2.7)
    else:
        deck: Colour = (126, 100, 74)
        item.add(rectangle(x1, -y, x2, y), tint(deck, 0.6), 1.0)
        item.add(rectangle(x1 + 0.08, -y + 0.1, x2 - 0.08, y - 0.1), deck, 1.25)
        for at in np.arange(x1 + 0.5, x2 - 0.2, 0.55):
            item.add(rectangle(at, -y + 0.1, at + 0.06, y - 0.1), tint(deck, 0.8), 1.25)
        at = x1 + 0.4
        while at < x2 - 1.6 and random.random() < 0.75:
            size = random.uniform(1.0, 2.2)
            load = pick(random, BOX_COLOURS)
            item.add(rectangle(at, -y + 0.3, min(at + size, x2 - 0.3), y - 0.3), tint(load, 0.65), 1.4)
            item.add(rectangle(at + 0.05, -y + 0.35, min(at + size, x2 - 0.3) - 0.05, y - 0.35), load, 2.3)
            at += size + 0.2


def make_person(random: np.random.Generator, pose: Pose) -> Item:
    """Make a walking or standing person, seen from above."""
    shirt, trousers = pick(random, CLOTHES), tint(pick(random, CLOTHES), 0.55)
    skin, hair = pick(random, SKIN), pick(random, HAIR)
    stride = random.uniform(0.0, 0.34)
    side = 1 if random.random() < 0.5 else -1
    item = Item(PERSON, pose, ellipse(0, 0, 0.3, 0.33, 8))
    item.prisms.append((ellipse(0, 0, 0.13, 0.2, 8), 1.5, 0.0))
    item.prisms.append((ellipse(0, 0, 0.11, 0.11, 8), 1.72, 1.4))
    for foot in (-1, 1):
        reach = stride * side * foot
        item.add(ellipse(reach + 0.07, foot * 0.1, 0.17, 0.07, 8), (38, 34, 32), 0.05)
        item.add(ellipse(reach * 0.7, foot * 0.1, 0.15, 0.1, 8), trousers, 0.5)
    swing = stride * 0.7 * side
    item.add(ellipse(swing + 0.02, -0.29, 0.17, 0.08, 8), tint(shirt, 0.8), 1.0)
    item.add(ellipse(-swing + 0.02, 0.29, 0.17, 0.08, 8), tint(shirt, 0.8), 1.0)
    item.add(ellipse(swing * 1.3 + 0.12, -0.28, 0.07, 0.06, 8), skin, 0.9)
    item.add(ellipse(-swing * 1.3 + 0.12, 0.28, 0.07, 0.06, 8), skin, 0.9)
    item.add(ellipse(0, 0, 0.19, 0.3, 12), tint(shirt, 0.78), 1.25)
    item.add(ellipse(0.0, 0, 0.155, 0.26, 12), shirt, 1.4)
    if random.random() < 0.2:
        item.add(rectangle(-0.27, -0.15, -0.07, 0.15, 0.06), pick(random, CLOTHES), 1.4)
    item.add(ellipse(0.05, 0, 0.125, 0.11, 10), skin, 1.6)
    cap = pick(random, CLOTHES) if random.random() < 0.25 else hair
    item.add(ellipse(0.015, 0, 0.12, 0.115, 10), cap, 1.72)
    item.add(ellipse(0.03, -0.03, 0.05, 0.045, 8), blend(cap, (255, 255, 255), 0.2), 1.74)
    return item
