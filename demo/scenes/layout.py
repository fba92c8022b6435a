"""Layout: lays fields, water, streets and traffic over a scene and fills the blocks between the streets."""

from __future__ import annotations

import math

import numpy as np

from demo.scenes.blocks import fill_block
from demo.scenes.brush import Colour
from demo.scenes.plan import Plan
from demo.scenes.props import LEAVES
from demo.scenes.site import PAINT, Site

KERB: Colour = (150, 148, 144)


class Layout:
    """Paints the ground of a plan and places objects on it."""

    def __init__(self, plan: Plan) -> None:
        self.site, self.plan, self.random = Site(plan), plan, plan.random

    def build(self, kind: str) -> None:
        """Paint and fill a scene of a kind."""
        base = {
            "suburb": "lawn",
            "town": "paving",
            "yard": "concrete",
            "village": "meadow",
            "park": "grass",
            "country": "grass",
            "desert": "sand",
            "lot": "grass",
        }[kind]
        if kind in ("village", "country") and self.random.random() < 0.4:
            base = str(self.random.choice(["dirt", "grass", "snow", "soil"]))
        self.plan.ground.paint(self.site.picture, None, base)
        if kind in ("country", "village", "desert"):
            self._patches(kind)
        if kind in ("park", "country") and self.random.random() < 0.3:
            self._water()
        self._streets(kind)
        self._loose(kind)

    def _patches(self, kind: str) -> None:
        """Lay fields or bare patches over the ground."""
        r = self.plan.reach
        names = {"desert": ["dirt", "gravel", "sand"]}.get(kind, ["wheat", "soil", "meadow", "dirt", "lawn", "forest"])
        for _ in range(int(self.random.integers(1, 4))):
            u, v = self.plan.anywhere()
            w, h = self.random.uniform(0.4, 1.3, 2) * r
            name = str(self.random.choice(names))
            furrows = kind != "desert" and name in ("wheat", "soil", "meadow")
            self.site.area(
                u,
                v,
                u + w,
                v + h,
                name,
                ragged=float(self.random.uniform(0.2, 1.5)),
                **({"streaks": self.plan.turn + float(self.random.choice([0, math.pi / 2]))} if furrows else {}),
            )

    def _water(self) -> None:
        """Add a pond with a ragged shore."""
        u, v = self.plan.anywhere()
        r = self.plan.reach * float(self.random.uniform(0.25, 0.6))
        angle = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        radius = r * self.random.uniform(0.75, 1.2, 24)
        points = self.plan.pixels(np.stack((u + radius * np.cos(angle), v + radius * np.sin(angle)), 1))
        self.plan.ground.paint(self.site.picture, points, "dirt", ragged=1.2)
        inner = (points - points.mean(0)) * 0.93 + points.mean(0)
        self.plan.ground.paint(self.site.picture, inner, "water", ragged=0.8)
        self.plan.claim(inner, test=False)

    def _cuts(self, kind: str, gap: tuple[float, float], skip: float) -> list[tuple[float, float]]:
        """Choose parallel roads as (centre, half width), metres in the frame."""
        if self.random.random() < skip:
            return []
        reach = self.plan.reach + 6
        at = float(self.random.uniform(-0.45, 0.45)) * self.plan.reach
        first = at
        roads: list[tuple[float, float]] = []
        while at < reach:
            roads.append((at, self._half(kind)))
            at += float(self.random.uniform(*gap))
        at = first - float(self.random.uniform(*gap))
        while at > -reach:
            roads.append((at, self._half(kind)))
            at -= float(self.random.uniform(*gap))
        return sorted(roads)

    def _half(self, kind: str) -> float:
        """Half width of a road, metres."""
        if kind in ("village", "country", "desert", "park"):
            return float(self.random.uniform(2.2, 3.6))
        return float(self.random.choice([3.4, 3.8, 6.8], p=[0.4, 0.4, 0.2]))

    def _streets(self, kind: str) -> None:
        """Cut the ground into blocks by two sets of roads, then fill blocks and roads."""
        rural = kind in ("village", "country", "desert", "park")
        along = self._cuts(kind, (45, 90) if rural else (34, 62), 0.25 if rural else 0.08)
        across = self._cuts(kind, (60, 120) if rural else (44, 90), 0.6 if rural else 0.3)
        far = self.plan.reach + 10
        walk = 0.0 if rural else float(self.random.uniform(1.6, 2.6))
        vs = [(-far, -far), *[(c - h - walk, c + h + walk) for c, h in along], (far, far)]
        us = [(-far, -far), *[(c - h - walk, c + h + walk) for c, h in across], (far, far)]
        blocks = [
            (us[i][1], vs[j][1], us[i + 1][0], vs[j + 1][0]) for i in range(len(us) - 1) for j in range(len(vs) - 1)
        ]
        surface = (
            str(self.random.choice(["dirt", "gravel", "asphalt"]))
            if rural
            else str(self.random.choice(["asphalt", "bitumen"]))
        )
        self._roads(along, across, far, walk, surface)
        for u1, v1, u2, v2 in blocks:
            if u2 - u1 > 4 and v2 - v1 > 4:
                fill_block(self.site, kind, u1, v1, u2, v2)
        # Roads were reserved while blocks were filled; now vehicles may use them.
        for c, h, upright in self.site.roads:
            self.plan.block(*((c - h, -far, c + h, far) if upright else (-far, c - h, far, c + h)), value=0)
        paved = surface in ("asphalt", "bitumen")
        for centre, half in along:
            self._traffic(centre, half, False, across, walk, paved)
        for centre, half in across:
            self._traffic(centre, half, True, along, walk, paved)

    def _roads(
        self, along: list[tuple[float, float]], across: list[tuple[float, float]], far: float, walk: float, surface: str
    ) -> None:
        """Paint pavements, carriageways and markings."""
        both = [(c, h, False) for c, h in along] + [(c, h, True) for c, h in across]
        paved = surface in ("asphalt", "bitumen")
        for grow, name in ((walk, "concrete"), (0.0, surface)):
            if grow == 0.0 and name == "concrete":
                continue
            for c, h, upright in both:
                edge = h + grow
                rect = (c - edge, -far, c + edge, far) if upright else (-far, c - edge, far, c + edge)
                if grow:
                    self.site.area(*rect, name)
                else:
                    self.site.area(*rect, name, ragged=0.0 if paved else 0.35)
                    self.plan.block(*rect)
        self.site.roads = both
        if not paved:
            for c, h, upright in both:
                for off in (-0.42 * h, 0.42 * h):
                    seg = (c + off, -far, c + off, far) if upright else (-far, c + off, far, c + off)
                    if surface == "dirt":
                        self.site.lines([seg], (118, 100, 78), 0.5)
            return
        for c, h, upright in both:
            crossings = [(cc, hh) for cc, hh, other in both if other != upright]
            self._markings(c, h, upright, crossings, far, walk)

    def _markings(
        self, c: float, h: float, upright: bool, crossings: list[tuple[float, float]], far: float, walk: float
    ) -> None:
        """Paint the lines of one road, except within junctions."""

        def turn(a: float, b: float, p: float, q: float) -> tuple[float, float, float, float]:
            return (b, a, q, p) if upright else (a, b, p, q)

        stops = [(-far, -far), *[(cc - hh - 1.0, cc + hh + 1.0) for cc, hh in crossings], (far, far)]
        zebra = walk > 0 and self.random.random() < 0.7
        centre: Colour = (208, 176, 72) if self.random.random() < 0.3 else PAINT
        for k in range(len(stops) - 1):
            low, high = stops[k][1], stops[k + 1][0]
            if high - low < 3:
                continue
            if walk:
                self.site.lines([turn(low, c + s * h, high, c + s * h) for s in (-1, 1)], KERB, 0.2)
            if h > 5:
                self.site.lines([turn(low, c + s * 0.12, high, c + s * 0.12) for s in (-1, 1)], centre, 0.1)
                rows = [-h / 2, h / 2]
            else:
                rows = [0.0]
            dashes = [
                turn(a, c + row, min(a + 2.4, high), c + row) for row in rows for a in np.arange(low + 2, high - 2, 6.0)
            ]
            self.site.lines(dashes, PAINT if h > 5 else centre, 0.12)
            self.site.lines([turn(low, c + s * (h - 0.35), high, c + s * (h - 0.35)) for s in (-1, 1)], PAINT, 0.1)
            for end, sign in ((low, 1), (high, -1)):
                if zebra and abs(end) < far - 1:
                    self.site.lines(
                        [
                            turn(end + sign * 0.6, c + o, end + sign * 3.2, c + o)
                            for o in np.arange(-h + 0.6, h - 0.3, 0.95)
                        ],
                        PAINT,
                        0.45,
                    )
        if self.random.random() < 0.6:
            at = float(self.random.uniform(-1, 1)) * self.plan.reach
            u, v = (c + 0.4 * h, at) if upright else (at, c + 0.4 * h)
            self.plan.prop("manhole", u, v)

    def _traffic(
        self, c: float, h: float, upright: bool, crossings: list[tuple[float, float]], walk: float, paved: bool
    ) -> None:
        """Place vehicles on the lanes of one road, and people, poles and signs on its pavements."""
        r, random = self.plan.reach, self.random
        lanes = [0.5] if h <= 5 else [0.25, 0.75]
        for side in (-1, 1):
            for lane in lanes:
                at = -r + float(random.exponential(12 / self.site.busy))
                while at < r:
                    off = c + side * lane * h + float(random.normal(0, 0.12))
                    u, v = (off, at) if upright else (at, off)
                    heading = (math.pi / 2 if upright else 0.0) + (math.pi if (side > 0) != upright else 0.0)
                    heading += float(random.normal(0, 0.02))
                    if self.plan.seen(u, v, 4):
                        heavy = random.random() < 0.24
                        (self.plan.truck if heavy else self.plan.car)(u, v, heading)
                    at += 8 + float(random.exponential((16 if paved else 40) / self.site.busy))
            if walk:
                at = -r
                while at < r:
                    off = c + side * (h + walk * float(random.uniform(0.3, 0.8)))
                    u, v = (off, at) if upright else (at, off)
                    if self.plan.seen(u, v):
                        if random.random() < 0.25:
                            self.plan.group(u, v, int(random.integers(2, 4)))
                        else:
                            self.plan.person(u, v, (math.pi / 2 if upright else 0) + math.pi * int(random.integers(2)))
                    at += 2 + float(random.exponential(11 / self.site.busy))
                for at in np.arange(-r, r, 24.0):
                    off = c + side * (h + 0.4)
                    u, v = (off, at) if upright else (at, off)
                    heading = (math.pi if side > 0 else 0) if upright else -side * math.pi / 2
                    self.plan.prop("pole" if random.random() < 0.7 else "sign", u, v, heading)

    def _loose(self, kind: str) -> None:
        """Scatter people, vehicles, trees and small objects over the ground that is still free."""
        random, plan = self.random, self.plan
        area = plan.brush.width * plan.brush.height / plan.scale**2
        density = {"park": 1.6, "town": 0.5, "lot": 0.5, "suburb": 0.5, "yard": 0.5, "desert": 0.5}.get(kind, 0.6)
        for _ in range(int(random.poisson(2 + density * min(area, 4000) / 260))):
            plan.group(*plan.anywhere(), int(random.choice([1, 1, 1, 2, 3, 5])))
        for _ in range(int(random.poisson(2))):
            spot = plan.anywhere()
            if not self.site.on_road(*spot, 0.5):
                (plan.truck if random.random() < 0.45 else plan.car)(*spot, float(random.uniform(0, 2 * math.pi)))
        names = ["rock", "tarp", "pallet", "bin", "bench", "table", "container"]
        for _ in range(int(random.poisson(5))):
            plan.prop(str(random.choice(names, p=[0.34, 0.17, 0.13, 0.14, 0.1, 0.06, 0.06])), *plan.anywhere())
        trees = {"park": 1.0, "country": 0.8, "suburb": 0.6, "village": 0.6, "lot": 0.3}.get(kind, 0.12)
        for _ in range(int(random.poisson(2 + trees * min(area, 5000) / 110))):
            u, v = plan.anywhere()
            radius = float(random.uniform(1.2, 4.2)) if random.random() < 0.7 else float(random.uniform(0.4, 1.0))
            if not self.site.on_road(u, v, radius * 0.5):
                plan.tree(
                    u, v, radius, self.site.leaf if random.random() < 0.7 else LEAVES[int(random.integers(len(LEAVES)))]
                )
