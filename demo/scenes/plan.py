"""Plan: places objects in the rotated frame of a scene and keeps track of free ground."""

from __future__ import annotations

import math

import cv2
import numpy as np

from demo.scenes.brush import Brush, Pose, rectangle
from demo.scenes.buildings import Building
from demo.scenes.objects import Item, make_car, make_person, make_truck
from demo.scenes.props import Tree, make_prop
from demo.scenes.terrain import Ground

CELL = 4
"""Pixels per cell of the occupancy grid."""
PERSON_PIXELS = 11.0
"""Smallest size of a person across the arms, pixels; smaller people could not be recognised."""


class Plan:
    """All objects of a scene and their places.

    The frame (u, v) is in metres, turned by `turn` radians; its origin is the middle of the picture.

    Attributes:
        reach: half diagonal of the picture, metres.
        flat: manholes, drawn first.
        low: vehicles, people and small objects, drawn below the shadows of buildings and trees.
        buildings, trees: drawn last.
        margin: cells of the occupancy grid beyond each edge of the picture.
        taken: uint8 occupancy grid, 1 where the ground is reserved.
        person_scale: pixels per metre of a person; larger than `scale`.
    """

    def __init__(self, random: np.random.Generator, brush: Brush, ground: Ground) -> None:
        self.random, self.brush, self.ground = random, brush, ground
        self.scale = brush.scale
        self.turn = random.uniform(0, math.pi)
        self.reach = math.hypot(brush.width, brush.height) / 2 / self.scale
        self.low: list[Item] = []
        self.flat: list[Item] = []
        self.buildings: list[Building] = []
        self.trees: list[Tree] = []
        self.margin = 24
        self.taken = np.zeros((brush.height // CELL + 2 * self.margin, brush.width // CELL + 2 * self.margin), np.uint8)
        self.frame = Pose(brush.width / 2, brush.height / 2, self.turn, self.scale)
        self.person_scale = max(self.scale * random.uniform(1.1, 1.3), PERSON_PIXELS / 0.62 * random.uniform(1.0, 1.2))

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Map frame metres float [n,2] to pixels."""
        return self.frame.place(np.asarray(points, np.float64))

    def pose(self, u: float, v: float, heading: float = 0.0, scale: float | None = None) -> Pose:
        """Pose of an object at frame metres with a heading in the frame."""
        x, y = self.pixels(np.array([(u, v)]))[0]
        return Pose(float(x), float(y), self.turn + heading, self.scale if scale is None else scale)

    def seen(self, u: float, v: float, margin: float = 0.0) -> bool:
        """Whether a point is inside the picture grown by a margin in metres."""
        x, y = self.pixels(np.array([(u, v)]))[0]
        edge = margin * self.scale
        return bool(-edge < x < self.brush.width + edge and -edge < y < self.brush.height + edge)

    def claim(self, points: np.ndarray, test: bool = True) -> bool:
        """Reserve a convex polygon (pixels); with `test`, return False if any of it is taken already."""
        grid = np.round(points / CELL + self.margin).astype(np.int32)
        x, y, w, h = cv2.boundingRect(grid)
        x2, y2 = min(x + w, self.taken.shape[1]), min(y + h, self.taken.shape[0])
        x, y = max(x, 0), max(y, 0)
        if x >= x2 or y >= y2:
            return False
        mask = np.zeros((y2 - y, x2 - x), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(grid) - (x, y), 1)
        spot = self.taken[y:y2, x:x2]
        if test and bool((spot & mask).any()):
            return False
        spot |= mask
        return True

    def block(self, u1: float, v1: float, u2: float, v2: float, value: int = 1) -> None:
        """Reserve (1) or release (0) a rectangle of the frame."""
        grid = np.round(self.pixels(rectangle(u1, v1, u2, v2)) / CELL + self.margin).astype(np.int32)
        cv2.fillConvexPoly(self.taken, grid, value)

    def _outline(self, item: Item, grow: float) -> np.ndarray:
        low, high = item.outline.min(0) - grow, item.outline.max(0) + grow
        return item.pose.place(rectangle(low[0], low[1], high[0], high[1]))

    def put(self, item: Item, grow: float = 0.25) -> bool:
        """Add a low item if the ground is free; `grow` is the clearance around it in metres."""
        if not self.claim(self._outline(item, grow)):
            return False
        self.low.append(item)
        return True

    def car(self, u: float, v: float, heading: float) -> bool:
        """Add a car."""
        return self.put(make_car(self.random, self.pose(u, v, heading)))

    def truck(self, u: float, v: float, heading: float) -> bool:
        """Add a truck."""
        return self.put(make_truck(self.random, self.pose(u, v, heading)), 0.4)

    def person(self, u: float, v: float, heading: float | None = None) -> bool:
        """Add a person."""
        angle = self.random.uniform(0, 2 * math.pi) if heading is None else heading
        return self.put(make_person(self.random, self.pose(u, v, angle, self.person_scale)), 0.12)

    def group(self, u: float, v: float, count: int) -> None:
        """Add people who stand or walk together."""
        gap = 0.75 * self.person_scale / self.scale
        heading = self.random.uniform(0, 2 * math.pi) if self.random.random() < 0.5 else None
        for _ in range(count):
            self.person(u + self.random.normal(0, gap), v + self.random.normal(0, gap), heading)

    def building(self, u: float, v: float, length: float, width: float, heading: float, roof: str) -> bool:
        """Add a building if the ground is free."""
        item = Building(self.random, self.pose(u, v, heading), length, width, roof)
        if not self.claim(self._outline(item, 0.8)):
            return False
        self.buildings.append(item)
        return True

    def prop(self, kind: str, u: float, v: float, heading: float | None = None) -> bool:
        """Add a distractor."""
        angle = self.random.uniform(0, 2 * math.pi) if heading is None else heading
        item = make_prop(self.random, self.pose(u, v, angle), kind)
        if kind == "manhole":
            self.flat.append(item)
            return True
        return self.put(item, 0.1)

    def tree(self, u: float, v: float, radius: float, leaf: tuple[float, float, float]) -> bool:
        """Add a tree of a crown radius in metres."""
        pose = self.pose(u, v)
        half = radius * 0.45
        if not self.claim(pose.place(rectangle(-half, -half, half, half))):
            return False
        self.trees.append(Tree(self.random, pose.x, pose.y, radius * self.scale, radius * 1.6, leaf))
        return True

    def anywhere(self) -> tuple[float, float]:
        """Random frame point inside the picture, metres."""
        x = self.random.uniform(-0.5, 0.5) * self.brush.width / self.scale
        y = self.random.uniform(-0.5, 0.5) * self.brush.height / self.scale
        c, s = math.cos(self.turn), math.sin(self.turn)
        return x * c + y * s, -x * s + y * c

    def covers(self) -> tuple[np.ndarray, np.ndarray]:
        """Two masks uint8 [H,W]: what buildings will hide, and what trees will hide."""
        shape = (self.brush.height, self.brush.width)
        walls, crowns = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        for item in self.buildings:
            both = np.concatenate((item.pose.place(item.outline), self.brush.lift(item.pose, item.outline, item.eaves)))
            cv2.fillConvexPoly(walls, cv2.convexHull(both.astype(np.float32)).round().astype(np.int32), 1)
        for tree in self.trees:
            x, y = tree.centre(self.brush)
            cv2.circle(crowns, (round(x), round(y)), round(tree.radius * 0.88), 1, -1)
        return walls, crowns


def hidden_share(points: np.ndarray, mask: np.ndarray) -> float:
    """Share 0..1 of a polygon (pixels, clipped to the picture) that a mask covers."""
    grid = np.round(points).astype(np.int32)
    x, y, w, h = cv2.boundingRect(grid)
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, mask.shape[1]), min(y + h, mask.shape[0])
    if x1 >= x2 or y1 >= y2:
        return 0.0
    own = np.zeros((y2 - y1, x2 - x1), np.uint8)
    cv2.fillPoly(own, [grid - (x1, y1)], 1)
    return float((own & mask[y1:y2, x1:x2]).sum()) / max(int(own.sum()), 1)
