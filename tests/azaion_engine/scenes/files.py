"""TIFFs that the tests of scenes make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

UTM33 = Affine(0.1, 0, 412_345.6, 0, -0.1, 5_412_345.6)
"""Ten centimetres a pixel, north up, in EPSG:32633."""


def write_tiff(path: Path, samples: np.ndarray, overviews: tuple[int, ...] = (), **profile: Any) -> Path:
    """Writes samples `[bands, height, width]` in tiles of 256; keywords are rasterio's."""
    bands, height, width = samples.shape
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    shape = {"count": bands, "height": height, "width": width, "dtype": samples.dtype}
    masks = profile.pop("valid", None)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(path, "w", driver="GTiff", **{**shape, **tiles, **profile}) as dataset:
            dataset.write(samples)
            if masks is not None:
                dataset.write_mask(masks)
        if overviews:
            with rasterio.open(path, "r+") as dataset:
                dataset.build_overviews(overviews, rasterio.enums.Resampling.average)
    return path


def noise(bands: int = 3, height: int = 600, width: int = 700, kind: type = np.uint8, most: int = 256) -> np.ndarray:
    """Random samples `[bands, height, width]`, the same at each call."""
    return np.random.default_rng(7).integers(0, most, (bands, height, width)).astype(kind)
