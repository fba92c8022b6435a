"""Blocks: fills the ground between roads with buildings, vehicles, people and trees."""

from __future__ import annotations

import math

import numpy as np

from demo.scenes.site import PAINT, Site

MIXES: dict[str, dict[str, float]] = {
    "suburb": {"houses": 0.75, "lot": 0.1, "green": 0.15},
    "town": {"flats": 0.5, "lot": 0.2, "plaza": 0.2, "houses": 0.1},
    "yard": {"works": 0.75, "lot": 0.25},
    "village": {"houses": 0.6, "green": 0.4},
    "park": {"green": 0.7, "plaza": 0.3},
    "country": {"green": 0.85, "houses": 0.15},
    "desert": {"green": 0.6, "houses": 0.2, "works": 0.2},
    "lot": {"lot": 0.75, "flats": 0.15, "works": 0.1},
}
"""Probability of each filling of a block, by kind of scene."""


def fill_block(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """Fill a block at random, with the probabilities of its kind of scene.

    Args:
        site: ground of the scene.
        kind: kind of scene.
        u1: left edge in the frame, metres.
        v1: upper edge.
        u2: right edge.
        v2: lower edge.
    """
    # Blocks may reach far beyond the picture. Only the part in view is filled.
    reach = site.plan.reach + 4
    u1, v1, u2, v2 = max(u1, -reach), max(v1, -reach), min(u2, reach), min(v2, reach)
    if u2 - u1 < 8 or v2 - v1 < 8:
        return
    mix = MIXES[kind]
    choice = str(site.random.choice(list(mix), p=list(mix.values())))
    {"houses": _houses, "flats": _flats, "lot": _lot, "works": _works, "plaza": _plaza, "green": _green}[choice](
        site, kind, u1, v1, u2, v2
    )


def _houses(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """Detached houses with drives, cars, pools, garden furniture and trees."""
    random, plan = site.random, site.plan
    if kind == "suburb":
        site.area(u1, v1, u2, v2, "lawn")
    pitch = float(random.uniform(15, 22))
    columns, rows = max(1, round((u2 - u1) / pitch)), max(1, round((v2 - v1) / (pitch + 3)))
    du, dv = (u2 - u1) / columns, (v2 - v1) / rows
    for i in range(columns):
        for j in range(rows):
            u, v = u1 + (i + 0.5) * du, v1 + (j + 0.5) * dv
            if not plan.seen(u, v, 9) or random.random() < (0.12 if kind == "suburb" else 0.35):
                continue
            length = float(random.uniform(9, min(15, max(du - 3, 9.5))))
            width = float(random.uniform(7, min(length, 10)))
            roof = str(random.choice(["gable", "hip", "ell", "flat"], p=[0.42, 0.27, 0.2, 0.11]))
            if roof == "ell":
                width = length * float(random.uniform(0.75, 1.0))
            heading = float(random.choice([0, math.pi / 2, math.pi, -math.pi / 2]) + random.normal(0, 0.04))
            plan.building(
                u + float(random.normal(0, 0.8)), v + float(random.normal(0, 0.8)), length, width, heading, roof
            )
            side = -1 if j * 2 < rows else 1
            drive = u + (du / 2 - 2.2) * (1 if random.random() < 0.5 else -1)
            if dv / 2 > 5 and random.random() < 0.7:
                a, b = sorted((v + side * dv * 0.08, v + side * dv / 2))
                site.area(
                    drive - 1.6, a, drive + 1.6, b, str(random.choice(["concrete", "gravel", "paving", "asphalt"]))
                )
                if random.random() < 0.75:
                    plan.car(drive, (a + b) / 2 + float(random.normal(0, 0.3)), side * math.pi / 2)
            spot = (u + float(random.uniform(-0.4, 0.4)) * du, v - side * dv * 0.38)
            plan.prop(
                str(random.choice(["pool", "bin", "tarp", "table", "bench"], p=[0.2, 0.2, 0.2, 0.3, 0.1])), *spot, 0.0
            )
            if random.random() < 0.5:
                plan.group(
                    u + float(random.uniform(-0.45, 0.45)) * du, v - side * dv * 0.42, int(random.integers(1, 4))
                )
            for _ in range(int(random.integers(0, 4))):
                plan.tree(
                    u + float(random.uniform(-0.5, 0.5)) * du,
                    v + float(random.uniform(-0.5, 0.5)) * dv,
                    float(random.uniform(0.7, 2.6)),
                    site.leaf,
                )


def _flats(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """Town buildings in rows, most with flat roofs, and parked cars in the gaps."""
    random, plan = site.random, site.plan
    site.area(u1, v1, u2, v2, str(random.choice(["paving", "concrete", "asphalt"])))
    u = u1 + 2
    while u < u2 - 9:
        length = float(random.uniform(10, 26))
        length = min(length, u2 - 2 - u)
        v = v1 + 2
        while v < v2 - 9 and length > 8:
            width = min(float(random.uniform(9, 20)), v2 - 2 - v)
            if random.random() < 0.8 and width > 7:
                roof = str(random.choice(["flat", "hip", "metal"], p=[0.8, 0.1, 0.1]))
                swap = width > length
                plan.building(
                    u + length / 2,
                    v + width / 2,
                    max(length, width),
                    min(length, width),
                    math.pi / 2 if swap else 0.0,
                    roof,
                )
            else:
                for k in range(int(length / 2.8)):
                    if random.random() < 0.6:
                        plan.car(u + 1.4 + 2.8 * k, v + width / 2, math.pi / 2)
            v += width + float(random.uniform(2.5, 7))
        u += length + float(random.uniform(2.5, 8))


def _lot(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """A car park with marked rows."""
    random, plan = site.random, site.plan
    site.area(
        u1, v1, u2, v2, str(random.choice(["asphalt", "bitumen", "concrete", "gravel"], p=[0.45, 0.3, 0.15, 0.1]))
    )
    fullness = float(random.uniform(0.35, 0.9))
    v, stall, depth = v1 + 3.0, float(random.uniform(2.5, 2.9)), 5.2
    segments: list[tuple[float, float, float, float]] = []
    while v + depth < v2 - 1:
        heavy = random.random() < 0.15
        pitch, deep = (4.2, 15.0) if heavy and v + 16 < v2 else (stall, depth)
        for u in np.arange(u1 + 2.0, u2 - pitch - 1, pitch):
            segments.append((u, v, u, v + deep))
            u0, v0 = u + pitch / 2 + float(random.normal(0, 0.1)), v + deep / 2 + float(random.normal(0, 0.2))
            if random.random() < fullness * (0.7 if deep > 9 else 1.0) and plan.seen(u0, v0, 5):
                heading = math.pi / 2 * (1 if random.random() < 0.5 else -1) + float(random.normal(0, 0.025))
                (plan.truck if deep > 9 else plan.car)(u0, v0, heading)
        segments.append((u1 + 2.0, v, u2 - 2.0, v))
        v += deep
        if random.random() < 0.5 and v + deep + 6 < v2 and deep < 9:
            continue
        for _ in range(int(random.poisson(plan.reach / 9))):
            plan.group(float(random.uniform(u1, u2)), v + float(random.uniform(1, 5)), int(random.integers(1, 3)))
        v += 6.2
    site.lines(segments, PAINT, 0.11)


def _works(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """A hall and a yard with lorries, containers, pallets, cars and people."""
    random, plan = site.random, site.plan
    site.area(u1, v1, u2, v2, str(random.choice(["concrete", "gravel", "asphalt", "dirt"])))
    length = min(float(random.uniform(18, 38)), u2 - u1 - 4)
    width = min(float(random.uniform(11, 20)), v2 - v1 - 4, length)
    if width > 6:
        free_u, free_v = u2 - u1 - length - 4, v2 - v1 - width - 4
        u = u1 + 2 + length / 2 + float(random.uniform(0, max(free_u, 0)))
        v = v1 + 2 + width / 2 + (0.0 if random.random() < 0.5 else max(free_v, 0))
        plan.building(u, v, length, width, 0.0, str(random.choice(["metal", "flat"], p=[0.75, 0.25])))
    for _ in range(int(random.poisson((u2 - u1) * (v2 - v1) / 160))):
        u, v = float(random.uniform(u1 + 3, u2 - 3)), float(random.uniform(v1 + 3, v2 - 3))
        kind_ = random.random()
        heading = float(random.choice([0, math.pi / 2, math.pi, -math.pi / 2]) + random.normal(0, 0.05))
        if not plan.seen(u, v, 6):
            continue
        if kind_ < 0.4:
            plan.truck(u, v, heading)
        elif kind_ < 0.55:
            plan.prop("container", u, v, heading)
        elif kind_ < 0.7:
            for k in range(int(random.integers(2, 6))):
                plan.prop("pallet", u + 1.4 * k, v, 0.0)
        elif kind_ < 0.85:
            plan.car(u, v, heading)
        else:
            plan.group(u, v, int(random.integers(1, 4)))


def _plaza(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """A paved square with flower beds, trees, benches, parasols and people."""
    random, plan = site.random, site.plan
    site.area(u1, v1, u2, v2, str(random.choice(["paving", "concrete"])))
    step = float(random.uniform(1.8, 3.5))
    grid = [(u, v1, u, v2) for u in np.arange(u1, u2, step)] + [(u1, v, u2, v) for v in np.arange(v1, v2, step)]
    site.lines(grid, (150, 138, 126), 0.05)
    for _ in range(int(random.integers(1, 4))):
        u, v = float(random.uniform(u1, u2)), float(random.uniform(v1, v2))
        w, h = random.uniform(2, 6, 2)
        site.area(u, v, min(u + w, u2), min(v + h, v2), "lawn")
        plan.tree(u + w / 2, v + h / 2, float(random.uniform(1.2, 2.8)), site.leaf)
    for _ in range(int(min((u2 - u1) * (v2 - v1), 2500) / 55 * site.busy)):
        u, v = float(random.uniform(u1, u2)), float(random.uniform(v1, v2))
        if plan.seen(u, v):
            plan.group(u, v, int(random.choice([1, 1, 2, 3, 4])))
    for _ in range(6):
        plan.prop(
            str(random.choice(["bench", "table", "bin", "pole"])),
            float(random.uniform(u1, u2)),
            float(random.uniform(v1, v2)),
        )


def _green(site: Site, kind: str, u1: float, v1: float, u2: float, v2: float) -> None:
    """Open ground with clumps of trees and rocks, sometimes a path or a barn."""
    random, plan = site.random, site.plan
    if random.random() < 0.35:
        at = float(random.uniform(v1, v2))
        site.area(u1, at, u2, at + 2.0, str(random.choice(["gravel", "dirt", "paving"])), ragged=0.3)
        for _ in range(int(random.poisson(plan.reach / 8))):
            plan.group(float(random.uniform(u1, u2)), at + 1 + float(random.normal(0, 0.3)), int(random.integers(1, 3)))
    if random.random() < (0.35 if kind != "park" else 0.12):
        length = float(random.uniform(10, 22))
        plan.building(
            float(random.uniform(u1, u2)),
            float(random.uniform(v1, v2)),
            length,
            length * 0.55,
            float(random.uniform(0, math.pi)),
            str(random.choice(["gable", "metal", "hip"])),
        )
    for _ in range(int(random.integers(0, 4))):
        u, v = float(random.uniform(u1, u2)), float(random.uniform(v1, v2))
        for _ in range(int(random.integers(2, 7))):
            spot = (u + float(random.normal(0, 4)), v + float(random.normal(0, 4)))
            radius = float(random.uniform(0.8, 3.6))
            if not site.on_road(*spot, radius * 0.5):
                plan.tree(*spot, radius, site.leaf)
    for _ in range(int(random.poisson(3 if kind == "desert" else 1))):
        plan.prop("rock", float(random.uniform(u1, u2)), float(random.uniform(v1, v2)))
