"""Georeference: where a picture's pixels lie on the earth, in WGS84 longitude and latitude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.scenes.raster import environment

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_WGS84 = "OGC:CRS84"
"""WGS84 with longitude first, the coordinate system of RFC 7946 (section 4)."""

_SEMI_MAJOR, _FLATTENING = 6378137.0, 1 / 298.257223563
"""WGS84's ellipsoid, in metres (NGA.STND.0036, table 3.1)."""


@dataclass(frozen=True)
class FileGeoreference:
    """The georeference that a GeoTIFF states: an affine transform into a coordinate system.

    Attributes:
        transform: a, b, c, d, e, f: x, y of the system are `a·column + b·row + c` and `d·column + e·row + f`.
        system: rasterio's `CRS`.
    """

    transform: tuple[float, float, float, float, float, float]
    system: Any

    @classmethod
    def of(cls, dataset: DatasetReader) -> FileGeoreference | None:
        """Returns the georeference of a dataset; None without a coordinate system, a transform, or a way to WGS84.

        Ground control points and rational polynomial coefficients are not used: the first need a choice of surface,
        the second a height model.
        """
        with environment():
            system, affine = dataset.crs, dataset.transform
            values = tuple(float(value) for value in affine[:6])
        if not system or affine.is_identity or not all(map(math.isfinite, values)) or affine.is_degenerate:
            return None
        a, b, c, d, e, f = values
        made = cls((a, b, c, d, e, f), system)
        centre = made.to_wgs84(np.array([[dataset.width / 2, dataset.height / 2]]))
        return made if np.isfinite(centre).all() else None  # a local system of a building site has no place

    @property
    def crs(self) -> str:
        """As `files.geojson.Georeference`; WKT where the system has no code."""
        with environment():
            return str(self.system.to_string())

    @property
    def error_m(self) -> float | None:
        """None: as exact as the file."""
        return None

    def to_wgs84(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """As `files.geojson.Georeference`."""
        a, b, c, d, e, f = self.transform
        columns, rows = np.asarray(points, np.float64).reshape(-1, 2).T
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
        places = _to_wgs84(self.system, np.stack([x, y], axis=1))
        places[~(np.isfinite(places).all(axis=1) & (np.abs(places[:, 1]) <= 90))] = np.nan
        return places


def _to_wgs84(system: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns longitude and latitude `[n, 2]` of points `[n, 2]` in a system; NaN or infinity where there is none."""
    with environment():
        from rasterio._err import CPLE_BaseError
        from rasterio.errors import RasterioError
        from rasterio.warp import transform

        try:
            return np.stack(transform(system, _WGS84, *points.T), axis=1).astype(np.float64)
        except (RasterioError, CPLE_BaseError):  # one point without a place fails all
            if len(points) == 1:
                return np.full((1, 2), np.nan)
    middle = len(points) // 2
    return np.concatenate([_to_wgs84(system, points[:middle]), _to_wgs84(system, points[middle:])])


@dataclass(frozen=True)
class PlaneGeoreference:
    """An estimated georeference: a plane that touches the earth at the picture's centre.

    Attributes:
        longitude: Of the picture's centre, in degrees.
        latitude: Likewise.
        width: Of the picture, in pixels.
        height: Likewise.
        metres: Of a pixel on the ground.
        heading: Direction of the picture's upper edge, degrees clockwise from north.
        error_m: Expected error of a position, in metres.
    """

    longitude: float
    latitude: float
    width: int
    height: int
    metres: float
    heading: float
    error_m: float | None

    @property
    def crs(self) -> str:
        """The coordinate system of the camera's position."""
        return "EPSG:4326"

    def to_wgs84(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """As `files.geojson.Georeference`; right to millimetres within a kilometre, beside the estimate's own error."""
        columns, rows = np.asarray(points, np.float64).reshape(-1, 2).T
        right, up = (columns - self.width / 2) * self.metres, (self.height / 2 - rows) * self.metres
        turn = math.radians(self.heading)
        east = right * math.cos(turn) + up * math.sin(turn)
        north = up * math.cos(turn) - right * math.sin(turn)
        per_longitude, per_latitude = metres_per_degree(self.latitude)
        return np.stack([self.longitude + east / per_longitude, self.latitude + north / per_latitude], axis=1)


def metres_per_degree(latitude: float) -> tuple[float, float]:
    """Returns the length of a degree of longitude and of one of latitude, in metres, on WGS84's ellipsoid.

    They are the radius of the parallel, N·cos φ, and the meridian's radius of curvature, M, by π/180 (Snyder, Map
    Projections: A Working Manual, USGS 1395, equations 4-18 to 4-21).

    Args:
        latitude: In degrees.
    """
    squared = _FLATTENING * (2 - _FLATTENING)  # of the eccentricity
    phi = math.radians(latitude)
    shrink = 1 - squared * math.sin(phi) ** 2
    parallel = _SEMI_MAJOR / math.sqrt(shrink) * math.cos(phi)
    meridian = _SEMI_MAJOR * (1 - squared) / shrink**1.5
    return math.radians(parallel), math.radians(meridian)


def on_ellipsoid(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the points of WGS84's ellipsoid in space, `[n, 3]` in metres from the earth's centre.

    The method is EPSG's 9602, geographic to geocentric (IOGP 373-7-2, section 4.1.1), at height 0.

    Args:
        places: Longitude and latitude `[n, 2]`, in degrees.
    """
    squared = _FLATTENING * (2 - _FLATTENING)  # of the eccentricity
    longitude, latitude = np.radians(places).T
    normal = _SEMI_MAJOR / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    axial = normal * np.cos(latitude)
    return np.stack(
        [axial * np.cos(longitude), axial * np.sin(longitude), normal * (1 - squared) * np.sin(latitude)], axis=1
    )
