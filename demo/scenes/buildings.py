"""Buildings with various roofs; oblique views show their walls."""

from __future__ import annotations

import math

import numpy as np

from demo.scenes.brush import Brush, Colour, Pose, blend, ellipse, rectangle, tint
from demo.scenes.objects import BUILDING, Item, pick

TILES: list[Colour] = [
    (158, 82, 60),
    (138, 66, 50),
    (116, 60, 48),
    (96, 78, 68),
    (84, 86, 90),
    (108, 106, 104),
    (170, 104, 78),
    (72, 70, 72),
    (132, 112, 96),
]
FLAT: list[Colour] = [
    (168, 166, 162),
    (144, 144, 144),
    (120, 120, 122),
    (190, 188, 182),
    (96, 96, 100),
    (206, 206, 204),
    (150, 138, 124),
]
METAL: list[Colour] = [
    (178, 186, 192),
    (148, 158, 166),
    (112, 134, 152),
    (126, 146, 124),
    (170, 112, 92),
    (200, 202, 202),
    (96, 108, 126),
]
WALLS: list[Colour] = [(214, 204, 188), (196, 178, 154), (166, 118, 94), (226, 224, 218), (180, 180, 178)]


class Building(Item):
    """A building whose top is drawn according to `roof`.

    Attributes:
        length: metres along local x.
        width: metres along local y, at most the length.
        eaves: height of the walls, metres.
        roof: "flat", "gable", "hip", "ell" or "metal".
    """

    def __init__(self, random: np.random.Generator, pose: Pose, length: float, width: float, roof: str) -> None:
        super().__init__(BUILDING, pose, rectangle(-length / 2, -width / 2, length / 2, width / 2))
        self.random, self.length, self.width, self.roof = random, length, width, roof
        self.eaves = float(random.uniform(3.0, 5.5) if roof in ("gable", "hip", "ell") else random.uniform(4.0, 9.0))
        self.wall = pick(random, WALLS)
        palette = {"flat": FLAT, "metal": METAL}.get(roof, TILES)
        self.colour = pick(random, palette)
        self.rise = width * float(random.uniform(0.22, 0.34)) if roof in ("gable", "hip", "ell") else 0.0
        x, y = length / 2, width / 2
        if roof == "ell":
            cut = float(random.uniform(0.38, 0.52))
            self.wing = width * cut
            self.outline = np.array(
                [
                    (-x, -y),
                    (x, -y),
                    (x, -y + self.wing),
                    (-x + self.wing, -y + self.wing),
                    (-x + self.wing, y),
                    (-x, y),
                ],
                np.float64,
            )
            self.rise = self.wing * 0.3

    def cast(self, brush: Brush) -> None:
        """Add the shadows of walls and ridge."""
        x, y = self.length / 2, self.width / 2
        if self.roof == "ell":
            brush.cast(self.pose, rectangle(-x, -y, x, -y + self.wing), self.eaves + self.rise * 0.6)
            brush.cast(self.pose, rectangle(-x, -y, -x + self.wing, y), self.eaves + self.rise * 0.6)
            return
        brush.cast(self.pose, self.outline, self.eaves)
        if self.rise:
            inset = y if self.roof == "hip" else 0.0
            ridge = rectangle(-x + inset, -0.1, x - inset, 0.1)
            both = np.concatenate((ridge, ridge))
            brush.cast(self.pose, both, self.eaves + self.rise, self.eaves)

    def draw(self, brush: Brush) -> None:
        """Draw walls and roof and measure the box."""
        brush.begin()
        base = self.outline
        for i in range(len(base)):
            a, b = base[i], base[(i + 1) % len(base)]
            quad = np.array([a, b, b, a])
            light = self._light(brush, b[1] - a[1], a[0] - b[0])
            brush.shape(self.pose, quad, tint(self.wall, 0.62 + 0.3 * light), np.array([0, 0, self.eaves, self.eaves]))
        {"flat": self._flat, "metal": self._metal, "gable": self._gable, "hip": self._hip, "ell": self._ell}[self.roof](
            brush
        )
        self.box = brush.box()

    def _light(self, brush: Brush, nx: float, ny: float) -> float:
        """Cosine of the angle between a side with local normal (nx, ny) and the sun, -1..1."""
        pose = self.pose
        gx, gy = nx * pose.cos - ny * pose.sin, nx * pose.sin + ny * pose.cos
        size = math.hypot(gx, gy) * math.hypot(*brush.sun)
        return -(gx * brush.sun[0] + gy * brush.sun[1]) / size if size > 1e-9 else 0.0

    def _slope(self, brush: Brush, points: list[tuple[float, float, float]], normal: tuple[float, float]) -> None:
        """Draw one roof plane with courses of tiles.

        Args:
            brush: what draws.
            points: (x, y, height) corners; the first two form the eaves.
            normal: horizontal part of the plane's normal.
        """
        data = np.array(points)
        colour = tint(self.colour, 0.88 + 0.2 * self._light(brush, *normal))
        brush.shape(self.pose, data[:, :2], colour, data[:, 2])
        depth = float(np.hypot(*(data[2, :2] - data[1, :2])))
        count = int(min(depth / 0.45, depth * self.pose.scale / 3.5))
        if count < 2:
            return
        share = (np.arange(1, count) / count)[:, None]
        left = data[0] + (data[-1] - data[0]) * share
        right = data[1] + (data[2] - data[1]) * share
        lines = np.stack((left, right), 1)
        brush.strokes(self.pose, lines[..., :2], tint(colour, 0.9), 1, lines[..., 2].ravel())

    def _gable(self, brush: Brush) -> None:
        x, y, e, r = self.length / 2 + 0.3, self.width / 2 + 0.3, self.eaves, self.eaves + self.rise
        self._slope(brush, [(-x, y, e), (x, y, e), (x, 0, r), (-x, 0, r)], (0, 1))
        self._slope(brush, [(x, -y, e), (-x, -y, e), (-x, 0, r), (x, 0, r)], (0, -1))
        self._ridge(brush, [(-x, 0, r), (x, 0, r)])
        self._chimney(brush)

    def _hip(self, brush: Brush) -> None:
        x, y, e, r = self.length / 2 + 0.3, self.width / 2 + 0.3, self.eaves, self.eaves + self.rise
        k = max(x - y, 0.2)
        self._slope(brush, [(-x, y, e), (x, y, e), (k, 0, r), (-k, 0, r)], (0, 1))
        self._slope(brush, [(x, -y, e), (-x, -y, e), (-k, 0, r), (k, 0, r)], (0, -1))
        self._slope(brush, [(x, y, e), (x, -y, e), (k, 0, r), (k, 0, r)], (1, 0))
        self._slope(brush, [(-x, -y, e), (-x, y, e), (-k, 0, r), (-k, 0, r)], (-1, 0))
        for sx in (-1, 1):
            for sy in (-1, 1):
                self._ridge(brush, [(sx * x, sy * y, e), (sx * k, 0, r)])
        self._ridge(brush, [(-k, 0, r), (k, 0, r)])
        self._chimney(brush)

    def _ell(self, brush: Brush) -> None:
        x, y, w, e, r = self.length / 2, self.width / 2, self.wing, self.eaves, self.eaves + self.rise
        m, n = -y + w / 2, -x + w / 2
        self._slope(brush, [(-x, -y + w, e), (x, -y + w, e), (x, m, r), (-x, m, r)], (0, 1))
        self._slope(brush, [(x, -y, e), (-x, -y, e), (n, m, r), (x, m, r)], (0, -1))
        self._slope(brush, [(-x, -y, e), (-x, y, e), (n, y, r), (n, m, r)], (-1, 0))
        self._slope(brush, [(-x + w, y, e), (-x + w, -y + w, e), (n, m, r), (n, y, r)], (1, 0))
        self._ridge(brush, [(n, m, r), (x, m, r)])
        self._ridge(brush, [(n, m, r), (n, y, r)])
        self._ridge(brush, [(-x, -y, e), (n, m, r)])
        self._ridge(brush, [(-x + w, -y + w, e), (n, m, r)])

    def _ridge(self, brush: Brush, ends: list[tuple[float, float, float]]) -> None:
        data = np.array(ends)
        thick = max(1, round(0.14 * self.pose.scale))
        brush.strokes(
            self.pose, data[None, :, :2], blend(tint(self.colour, 0.75), (230, 220, 210), 0.25), thick, data[:, 2]
        )

    def _chimney(self, brush: Brush) -> None:
        if self.random.random() < 0.6:
            x, top = self.random.uniform(-0.3, 0.3) * self.length, self.eaves + self.rise
            self._block(brush, x, self.width * 0.12, 0.7, 0.7, top * 0.9, 1.2, (150, 92, 72))
        if self.random.random() < 0.35:  # roof windows or solar panels
            count = int(self.random.integers(1, 5))
            dark: Colour = (34, 44, 66)
            side = -1 if self.random.random() < 0.5 else 1
            for i in range(count):
                x = (i - count / 2) * 1.5
                y = side * self.width * 0.27
                brush.shape(self.pose, rectangle(x, y - 0.75, x + 1.3, y + 0.75), dark, self.eaves + self.rise * 0.5)

    def _block(
        self, brush: Brush, x: float, y: float, w: float, d: float, base: float, high: float, colour: Colour
    ) -> None:
        """Draw a small box on the roof with its own shadow."""
        points = rectangle(x - w / 2, y - d / 2, x + w / 2, y + d / 2)
        offset = np.array(brush.sun) * brush.scale * high * 0.8
        if math.hypot(*offset) > 0.5:
            placed = brush.lift(self.pose, points, base)
            under = tint(self.colour, 0.6)
            for share in (0.5, 1.0):
                brush.fill(placed + offset * share, under, measure=False)
        brush.shape(self.pose, points, tint(colour, 0.7), base + high * 0.3)
        brush.shape(self.pose, points, colour, base + high)

    def _flat(self, brush: Brush) -> None:
        x, y, e = self.length / 2, self.width / 2, self.eaves
        brush.shape(self.pose, rectangle(-x, -y, x, y), blend(self.colour, (255, 255, 255), 0.25), e + 0.5)
        rim = 0.35
        brush.shape(self.pose, rectangle(-x + rim, -y + rim, x - rim, y - rim), tint(self.colour, 0.72), e)
        # The sunlit part is drawn over a dark deck, so the parapet's shadow remains as a dark rim.
        shift = np.array(brush.sun) * 0.5
        local = np.array(
            (shift[0] * self.pose.cos + shift[1] * self.pose.sin, -shift[0] * self.pose.sin + shift[1] * self.pose.cos)
        ).clip(-1.2, 1.2)
        brush.shape(
            self.pose,
            rectangle(
                -x + rim + max(local[0], 0),
                -y + rim + max(local[1], 0),
                x - rim + min(local[0], 0),
                y - rim + min(local[1], 0),
            ),
            self.colour,
            e,
        )
        seams = np.arange(-x + 3, x - 2, 3.2)
        if len(seams):
            lines = np.array([[(s, -y + 0.6), (s, y - 0.6)] for s in seams])
            brush.strokes(self.pose, lines, tint(self.colour, 0.93), 1, e)
        for _ in range(int(self.random.integers(2, 4 + int(self.length * self.width / 60)))):
            px = self.random.uniform(-x + 1.8, x - 1.8) if x > 2.2 else 0.0
            py = self.random.uniform(-y + 1.8, y - 1.8) if y > 2.2 else 0.0
            kind = self.random.random()
            if kind < 0.55:
                size = self.random.uniform(0.8, 1.9)
                self._block(brush, px, py, size * 1.3, size, e, 1.1, (196, 198, 200))
                brush.shape(self.pose, ellipse(px, py, size * 0.36, size * 0.36, 12), (82, 86, 90), e + 1.15)
            elif kind < 0.8:
                brush.shape(self.pose, ellipse(px, py, 0.35, 0.35, 10), (70, 72, 74), e + 0.4)
            else:
                brush.shape(self.pose, rectangle(px - 0.9, py - 0.7, px + 0.9, py + 0.7), (178, 206, 222), e + 0.2)

    def _metal(self, brush: Brush) -> None:
        x, y, e = self.length / 2, self.width / 2, self.eaves
        step = max(0.5, 3.2 / self.pose.scale)
        for side in (-1, 1):
            colour = tint(self.colour, 0.92 + 0.13 * self._light(brush, 0, side))
            brush.shape(self.pose, rectangle(-x, min(0, side * y), x, max(0, side * y)), colour, e)
            at = np.arange(-x + step, x - step / 2, step)
            lines = np.stack((np.stack((at, 0 * at), 1), np.stack((at, 0 * at + side * y), 1)), 1)
            brush.strokes(self.pose, lines, tint(colour, 0.88), 1, e)
            for sx in np.arange(-x + 4, x - 3, 6.0):
                brush.shape(
                    self.pose, rectangle(sx, side * y * 0.3 - 0.02, sx + 1.0, side * y * 0.75), (204, 214, 214), e
                )
        self._ridge(brush, [(-x, 0, e), (x, 0, e)])
        for _ in range(int(self.random.integers(0, 4))):
            self._block(brush, self.random.uniform(-0.4, 0.4) * self.length, 0, 1.2, 1.2, e, 0.8, (170, 174, 178))
