"""Locating: where any picture lies, if it says so: a GeoTIFF, or a drone's photo taken straight down."""

from __future__ import annotations

from pathlib import Path

from azaion_engine.errors import PictureError
from azaion_engine.files.geojson import Georeference
from azaion_engine.scenes.footprint import footprint
from azaion_engine.scenes.georeference import FileGeoreference
from azaion_engine.scenes.map_tags import read_map_tags, read_size
from azaion_engine.scenes.raster import is_tiff, open_file, opened_bytes


def locate(picture: Path | bytes) -> Georeference | None:
    """Returns where the upright picture lies; None if it does not say so.

    Args:
        picture: A local file, or an encoded picture. Only headers are read; a damaged one has no place. Of an encoded
            TIFF GDAL gets the map's tags alone, since it may come from anybody.

    Raises:
        MissingDependencyError: A TIFF, and rasterio is not installed.
    """
    if not is_tiff(picture):
        return footprint(picture)
    # A TIFF on its side has no place: its map is that of the pixels as stored.
    try:
        if isinstance(picture, bytes):
            tags = read_map_tags(picture)
            if tags is None or not tags.upright:
                return None
            with opened_bytes(tags.data) as dataset:
                return FileGeoreference.of(dataset)
        size = read_size(picture)
        if size is None or not size[2]:
            return None
        with open_file(picture) as dataset:
            return FileGeoreference.of(dataset)
    except PictureError:
        return None
