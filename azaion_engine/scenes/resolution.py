"""Resolution: the ground sampling distance, metres of the ground that one pixel covers."""

from __future__ import annotations

import numpy as np

from azaion_engine.errors import InvalidParameterError
from azaion_engine.files.geojson import Georeference
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.georeference import on_ellipsoid

_STEP = 50.0
"""Pixels from the centre at which the scale is measured: a projection's own rounding, some micrometres, is nothing."""


def ground_sampling_distance(georeference: Georeference, width: int, height: int) -> float | None:
    """Returns metres per pixel at a picture's centre; None if the centre has no place on the map.

    The centre's neighbours are taken to WGS84's ellipsoid in space, where their distance is measured, so that a map's
    own scale (Mercator's grows with the latitude), its unit (feet, degrees), its rotation, the poles and the
    antimeridian need no rules of their own.

    Args:
        georeference: The map.
        width: Of the picture, in pixels.
        height: Likewise.

    Returns:
        The square root of a pixel's area.
    """
    x, y = width / 2, height / 2
    step = min(_STEP, x, y)
    points = [[x - step, y], [x + step, y], [x, y - step], [x, y + step]]
    places = georeference.to_wgs84(np.array(points, np.float64))
    if not np.isfinite(places).all():
        return None
    left, right, upper, lower = on_ellipsoid(places)
    area = float(np.linalg.norm(np.cross((right - left) / (2 * step), (lower - upper) / (2 * step))))
    return float(np.sqrt(area)) if area > 0 else None


def check_metres(**metres: float | None) -> None:
    """Refuses lengths that are not above 0.

    Args:
        **metres: Lengths by name; None stands for the default.

    Raises:
        InvalidParameterError: Names the first such length and its value.
    """
    for name, value in metres.items():
        if value is not None and not 0 < value < float("inf"):
            raise InvalidParameterError(f"{name}: expected metres above 0, given {value}")


def of_size(found: Detections, metres: float, least: float | None, most: float | None) -> Detections:
    """Returns only the boxes whose longer side is in a range.

    Args:
        found: Boxes.
        metres: Of a pixel.
        least: Minimum length of the longer side in metres; None: any.
        most: Maximum length, likewise.
    """
    if least is most is None:
        return found
    sides = found.boxes[:, 2:] - found.boxes[:, :2] if found.oriented is None else found.oriented[:, 2:4]
    longer = sides.max(axis=1, initial=0).astype(np.float64) * metres
    return found.only((longer >= (least or 0)) & (longer <= (float("inf") if most is None else most)))
