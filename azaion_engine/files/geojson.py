"""GeoJson: a writer of detections as WGS84 polygons, RFC 7946."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from azaion_engine.files.names import printable
from azaion_engine.files.sources import Item
from azaion_engine.files.writers import Writer
from azaion_engine.results.detections import Detections

_LONGEST_EDGE = 256.0
"""Longest edge in pixels that is one line: a map's lines are curved in WGS84, by less than half a pixel over this."""
_DIGITS = 9
"""Decimals of a degree: a tenth of a millimetre, since half a pixel of a drone's picture may be few millimetres."""


class Georeference(Protocol):
    """Maps a picture's pixels to the earth."""

    @property
    def crs(self) -> str:
        """Name of the coordinate system of the source, such as `EPSG:32633`."""

    @property
    def error_m(self) -> float | None:
        """Expected error of a position in metres, where it is an estimate; None: as exact as the file."""

    def to_wgs84(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Returns longitude and latitude, float64 `[n, 2]` in degrees, of points `[n, 2]` of x, y in pixels.

        The upper left corner of the upper left pixel is 0, 0. A point without a place on the map is NaN.
        """


class GeoJson(Writer):
    """One FeatureCollection; a feature per box.

    Its geometry is a polygon in WGS84, longitude first, or null for a picture without a place on the map (RFC 7946,
    section 3.2). Its properties have the class, the confidence, the box in pixels and the source's coordinate system.
    """

    def __init__(self, stream: TextIO, georeference_of: Callable[[Item], Georeference | None]) -> None:
        """Writes nothing yet.

        Args:
            stream: Takes the document.
            georeference_of: Returns where the picture of an item lies; called once for each.
        """
        self._stream = stream
        self._georeference_of = georeference_of
        self._begun = False

    def write(self, item: Item, found: Detections) -> None:
        """Writes the features of one picture."""
        georeference = self._georeference_of(item)
        source: dict[str, Any] = {"source": printable(item.source)}
        if item.frame is not None:
            source |= {"frame": item.frame, "time_s": item.time_s}
        place: dict[str, Any] = {} if georeference is None else {"crs": georeference.crs}
        if georeference is not None and georeference.error_m is not None:
            place["error_m"] = round(georeference.error_m, 2)
        for box, geometry in zip(found.to_dicts(), geometries(found, georeference), strict=True):
            pixels = [box.pop(name) for name in ("x1", "y1", "x2", "y2")]
            properties = {**source, **box, "box": pixels, **place}
            self._print({"type": "Feature", "geometry": geometry, "properties": properties})

    def finish(self) -> None:
        """Ends the document."""
        if not self._begun:
            self._begin()
        print("\n]}", file=self._stream)

    def _print(self, feature: dict[str, Any]) -> None:
        text = json.dumps(feature, ensure_ascii=False, allow_nan=False)
        if self._begun:
            print(",", file=self._stream)
        else:
            self._begin()
        self._stream.write(text)

    def _begin(self) -> None:
        print('{"type": "FeatureCollection", "features": [', file=self._stream)
        self._begun = True


def geometries(found: Detections, georeference: Georeference | None) -> list[dict[str, Any] | None]:
    """Returns the geometry of each box, a polygon or a multipolygon in WGS84; None for one without a place.

    An oriented box is its own polygon. A box across the antimeridian is cut there (RFC 7946, section 3.1.9); one around
    a pole is not supported and has no meaning.

    Args:
        found: Boxes of a picture.
        georeference: Where the picture lies; None: nowhere.
    """
    if georeference is None or not len(found):
        return [None] * len(found)
    if found.corners is not None:
        corners = found.corners.astype(np.float64)
    else:
        corners = found.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].astype(np.float64).reshape(-1, 4, 2)
    rings = [_outline(one) for one in corners]
    places = georeference.to_wgs84(np.concatenate(rings))
    ends = np.cumsum([len(ring) for ring in rings])
    return [polygon(ring) for ring in np.split(places, ends[:-1])]


def polygon(ring: NDArray[np.float64]) -> dict[str, Any] | None:
    """Returns the geometry of a ring of longitude and latitude, `[n, 2]`, not closed; None if a point is NaN."""
    if not np.isfinite(ring).all():
        return None
    ring = ring.copy()
    if np.ptp(ring[:, 0]) > 180:  # the short way round crosses the antimeridian
        ring[ring[:, 0] < 0, 0] += 360
    if _area(ring) < 0:
        ring = ring[::-1]  # the outer ring runs counterclockwise: RFC 7946, section 3.1.6
    if (ring[:, 0] <= 180).all():
        return {"type": "Polygon", "coordinates": [_closed(ring)]}
    west, east = _cut(ring, 180.0, -1), _cut(ring, 180.0, 1) - [360.0, 0.0]
    parts = [[_closed(part)] for part in (west, east) if len(part) >= 3 and _area(part) > 0]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _outline(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the corners `[4, 2]` with points between them where an edge is long."""
    nexts = np.roll(corners, -1, axis=0)
    pieces = np.ceil(np.hypot(*(nexts - corners).T) / _LONGEST_EDGE).astype(int).clip(1, 1 << 12)
    if (pieces == 1).all():
        return corners
    return np.concatenate(
        [
            first + (second - first) * np.arange(count)[:, None] / count
            for first, second, count in zip(corners, nexts, pieces.tolist(), strict=True)
        ]
    )


def _area(ring: NDArray[np.float64]) -> float:
    """Returns twice the signed area of a ring; above 0 if it runs counterclockwise."""
    x, y = (ring - ring[:1]).T  # first moved near 0, where small boxes keep their digits
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def _cut(ring: NDArray[np.float64], meridian: float, side: int) -> NDArray[np.float64]:
    """Returns the part of a ring west (-1) or east (1) of a meridian: Sutherland and Hodgman's clipping."""
    kept: list[NDArray[np.float64]] = []
    for point, following in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        before, after = side * (point[0] - meridian), side * (following[0] - meridian)
        if before >= 0:
            kept.append(point)
        if before * after < 0:
            share = before / (before - after)
            kept.append(np.array([meridian, point[1] + share * (following[1] - point[1])]))
    return np.array(kept).reshape(-1, 2)


def _closed(ring: NDArray[np.float64]) -> list[list[float]]:
    points: list[list[float]] = np.round(ring, _DIGITS).tolist()
    return [*points, points[0]]
