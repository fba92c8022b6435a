"""Locating: where any picture lies, if it says so: a GeoTIFF, or a drone's photo taken straight down."""

from __future__ import annotations

import io
from pathlib import Path

from azaion_engine.errors import PictureError
from azaion_engine.files.geojson import Georeference
from azaion_engine.scenes.footprint import footprint
from azaion_engine.scenes.georeference import FileGeoreference
from azaion_engine.scenes.raster import is_tiff, open_file, opened_bytes

_ORIENTATION = 274


def locate(picture: Path | bytes) -> Georeference | None:
    """Returns where the upright picture lies; None if it does not say so.

    Args:
        picture: A local file, or an encoded picture. Only headers are read; a damaged one has no place.

    Raises:
        MissingDependencyError: A TIFF, and rasterio is not installed.
    """
    if not is_tiff(picture):
        return footprint(picture)
    size = tiff_size(picture)
    if size is None or not size[2]:
        return None  # a camera's TIFF on its side: its map, if any, is that of the pixels as stored
    try:
        if isinstance(picture, bytes):
            with opened_bytes(picture) as dataset:
                return FileGeoreference.of(dataset)
        with open_file(picture) as dataset:
            return FileGeoreference.of(dataset)
    except PictureError:
        return None


def tiff_size(picture: Path | bytes) -> tuple[int, int, bool] | None:
    """Returns width and height of a TIFF in pixels as stored, and whether it is upright; None if it is damaged."""
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        with io.BytesIO(picture) if isinstance(picture, bytes) else picture.open("rb") as file:
            tags = TiffImageFile(file).tag_v2
            return int(tags[256]), int(tags[257]), tags.get(_ORIENTATION, 1) == 1
    except Exception:  # Pillow's plug-in raises many types on damaged files
        return None
