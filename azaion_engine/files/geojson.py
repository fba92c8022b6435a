"""GeoJson: a writer of detections as WGS84 polygons, RFC 7946."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from azaion_engine.files.names import needs_ascii, printable
from azaion_engine.files.polygons import polygon
from azaion_engine.files.sources import Item
from azaion_engine.files.writers import Writer
from azaion_engine.results.detections import Detections

_LONGEST_EDGE = 256.0
"""Longest edge in pixels that is one line: a map's lines are curved in WGS84."""
_MOST_BEND = 0.25
"""Pixels by which a line of longitude and latitude may leave the edge. Near a pole the meridians' convergence bends it:
over a length L the bearing turns by the difference of longitude times the sine of the latitude (Snyder, USGS 1395, on
convergence), which makes a sagitta of an eighth of their product."""
_MOST_STEP, _LEAST_EDGE, _MOST_REFINING = 45.0, 0.5, 16
"""Degrees of longitude from a point to the next one, pixels of an edge that is split no more, and rounds of it."""


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
        text = json.dumps(feature, ensure_ascii=needs_ascii(self._stream), allow_nan=False)
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

    An oriented box is its own polygon. A box across the antimeridian is cut there, and one around a pole reaches
    it: see `polygons`.

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
    outlines = [_outline(one) for one in corners]
    points = np.concatenate(outlines)
    places = georeference.to_wgs84(points)
    ends = np.cumsum([len(outline) for outline in outlines])
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = ends - [len(outline) for outline in outlines]
    bent = np.logical_or.reduceat(_bends(points, places, following), np.concatenate([[0], ends[:-1]]))
    rings = np.split(places, ends[:-1])
    for index in np.flatnonzero(bent):
        rings[index] = _refined(outlines[index], rings[index], georeference)
    return [polygon(ring) for ring in rings]


def _bends(points: NDArray[np.float64], places: NDArray[np.float64], following: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns which edges of outlines, from each point to the following one, are no line of longitude and latitude."""
    lengths = np.hypot(*(points[following] - points).T)
    jumps = np.abs(places[following, 0] - places[:, 0])
    steps = np.abs((jumps + 180) % 360 - 180)
    bend = lengths * np.radians(steps) * np.abs(np.sin(np.radians(places[:, 1]))) / 8
    # Half the world in one edge looks like the other half.
    wide = (steps > _MOST_STEP) | ((jumps > _MOST_STEP) & (lengths > 16))
    split: NDArray[np.bool_] = ((bend > _MOST_BEND) | wide) & (lengths > _LEAST_EDGE)
    return split


def _refined(
    points: NDArray[np.float64], places: NDArray[np.float64], georeference: Georeference
) -> NDArray[np.float64]:
    """Halves the edges of an outline until all are lines of longitude and latitude; returns the longer ring."""
    for _ in range(_MOST_REFINING):
        following = np.roll(np.arange(len(points)), -1)
        [split] = _bends(points, places, following).nonzero()
        if not len(split) or not np.isfinite(places).all():
            break
        middles = (points[split] + points[following[split]]) / 2
        places = np.insert(places, split + 1, georeference.to_wgs84(middles), axis=0)
        points = np.insert(points, split + 1, middles, axis=0)
    return places


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
