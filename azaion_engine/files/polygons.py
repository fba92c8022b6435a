"""Polygons: a ring of longitude and latitude becomes a geometry of RFC 7946."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGITS = 9
"""Decimals of a degree: a tenth of a millimetre, since half a pixel of a drone's picture may be few millimetres."""
_ROUNDING = 10.0**-_DIGITS

Ring = NDArray[np.float64]
"""Points `[n, 2]` of longitude and latitude in degrees; the last one is not the first."""


def polygon(ring: Ring) -> dict[str, Any] | None:
    """Returns the geometry of a ring, a polygon or a multipolygon; None if a point is NaN.

    A ring across the antimeridian is cut there (RFC 7946, section 3.1.9). One around a pole goes along the antimeridian
    to the pole and back: in longitude and latitude that is the area around the pole.

    Args:
        ring: Longitudes of any number of turns; from a point to the next one are less than 180 degrees.
    """
    if not np.isfinite(ring).all():
        return None
    if np.ptp(ring[:, 0]) >= 180 or np.abs(ring[:, 0]).max() > 180 or np.abs(ring[:, 1]).max() > 90 - _ROUNDING:
        rings = _cut(_unrolled(ring))
    else:
        rings = [ring]
    # The outer ring runs counterclockwise: RFC 7946, section 3.1.6.
    parts = [[_closed(one if _area(one) > 0 else one[::-1])] for one in rings]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _unrolled(ring: Ring) -> Ring:
    """Returns a ring whose longitudes do not jump; it begins in -180…180 and may go on beyond."""
    ring = _without_poles(ring)
    steps = np.diff(ring[:, 0], append=ring[0, 0])
    steps = (steps + 180) % 360 - 180
    turns = round(float(steps.sum()) / 360)
    unrolled = np.column_stack([ring[0, 0] + np.cumsum(steps) - steps, ring[:, 1]])
    if turns:
        unrolled = _around_pole(unrolled, 360.0 * np.sign(turns))
    least = float(unrolled[:, 0].min())
    unrolled[:, 0] -= 360 * np.floor((least + 180 + _ROUNDING) / 360)
    return unrolled


def _without_poles(ring: Ring) -> Ring:
    """Gives a point at a pole, which has no longitude there, those of the points before and after it.

    Several in a row are an edge along the upper or lower end of a map in degrees, and keep theirs.
    """
    at_pole = np.abs(ring[:, 1]) > 90 - _ROUNDING
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    [alone] = (at_pole & ~np.roll(at_pole, 1) & ~np.roll(at_pole, -1)).nonzero()
    leaving = np.column_stack([after[alone, 0], ring[alone, 1]])
    arriving = ring.copy()
    arriving[alone, 0] = before[alone, 0]
    return np.insert(arriving, alone + 1, leaving, axis=0)


def _around_pole(ring: Ring, turn: float) -> Ring:
    """Returns a ring around a pole, beginning at the antimeridian, with its way to the pole and back.

    Args:
        ring: Unrolled; its first point follows its last one `turn` degrees on.
        turn: 360 or -360.
    """
    pole = float(np.copysign(90, ring[np.abs(ring[:, 1]).argmax(), 1]))
    following = np.concatenate([ring[1:], ring[:1] + np.array([turn, 0.0])])
    # A whole turn passes the antimeridian at least once in its own direction.
    bounds = np.floor((ring[:, 0] + 180) / 360), np.floor((following[:, 0] + 180) / 360)
    [crossing] = np.flatnonzero(np.sign(bounds[1] - bounds[0]) == np.sign(turn))[:1]
    meridian = 360 * max(bounds[0][crossing], bounds[1][crossing]) - 180
    before, after = ring[crossing], following[crossing]
    latitude = before[1] + (meridian - before[0]) / (after[0] - before[0]) * (after[1] - before[1])
    rest = np.concatenate([following[crossing:], following[:crossing] + np.array([turn, 0.0])])
    ends = [[meridian + turn, latitude], [meridian + turn, pole], [meridian, pole]]
    return np.concatenate([[[meridian, latitude]], rest, ends])


def _cut(ring: Ring) -> list[Ring]:
    """Returns the parts of an unrolled ring between the antimeridians, each within -180…180 degrees."""
    parts = []
    turns = max(1, int(np.ceil((ring[:, 0].max() + 180 - _ROUNDING) / 360)))
    for turn in range(turns):
        part = ring - [360.0 * turn, 0.0]
        if turn:
            part = _side(part, -180.0, 1)
        if turn < turns - 1:
            part = _side(part, 180.0, -1)
        part = part.clip([-180, -90], [180, 90])
        if len(part) >= 3 and abs(_area(part)) > 0:
            parts.append(part)
    return parts or [ring.clip([-180, -90], [180, 90])]


def _side(ring: Ring, meridian: float, side: int) -> Ring:
    """Returns the part of a ring west (-1) or east (1) of a meridian: Sutherland and Hodgman's clipping."""
    kept: list[Ring] = []
    for point, following in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        before, after = side * (point[0] - meridian), side * (following[0] - meridian)
        if before >= 0:
            kept.append(point)
        if before * after < 0:
            share = before / (before - after)
            kept.append(np.array([meridian, point[1] + share * (following[1] - point[1])]))
    return np.array(kept).reshape(-1, 2)


def _area(ring: Ring) -> float:
    """Returns twice the signed area of a ring; above 0 if it runs counterclockwise."""
    x, y = (ring - ring[:1]).T  # first moved near 0, where small boxes keep their digits
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _closed(ring: Ring) -> list[list[float]]:
    points: list[list[float]] = np.round(ring, _DIGITS).tolist()
    return [*points, points[0]]
