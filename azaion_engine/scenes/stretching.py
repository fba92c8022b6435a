"""Stretching: samples of any type → 8 bits, by percentiles of the whole scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.letterbox import PAD_VALUE

LOW, HIGH = 2.0, 98.0
"""Percentiles that become black and white: the cumulative count cut that QGIS shows deep rasters with by default
(QGIS User Guide, "Raster properties", contrast enhancement)."""


@dataclass(frozen=True)
class Stretch:
    """A linear stretch of each band.

    Attributes:
        low: float64 `[bands]`: values that become 0; None: samples are 8 bits already.
        high: float64 `[bands]`: values that become 255, each above its `low`.
    """

    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None

    @classmethod
    def of_sample(cls, samples: NDArray[np.generic], valid: NDArray[np.bool_]) -> Stretch:
        """Measures a scene's stretch on a sample of its pixels.

        Args:
            samples: `[bands, n]` of any real type.
            valid: bool `[n]`: pixels that are part of the picture; NaN and infinities are left out besides.

        Returns:
            The stretch between the percentiles `LOW` and `HIGH` of each band. A band without valid pixels, or of one
            value, becomes black at that value and below.
        """
        low, high = [], []
        for band in samples:
            values = band[valid & np.isfinite(band)]
            first, last = np.percentile(values.astype(np.float64), (LOW, HIGH)) if values.size else (0.0, 1.0)
            low.append(first)
            high.append(last if last > first else max(first + 1, np.nextafter(first, np.inf)))
        return cls(np.array(low, np.float64), np.array(high, np.float64))

    def apply(self, samples: NDArray[np.generic], valid: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        """Returns a picture.

        Args:
            samples: `[bands, height, width]`, one band or three; uint8 if there is no stretch.
            valid: bool `[height, width]`: pixels that are part of the picture; None: all are.

        Returns:
            uint8 `[height, width, 3]`, RGB, contiguous; one band becomes grey, pixels that are not valid the grey of
            the letterbox.
        """
        picture = np.empty((*samples.shape[1:], 3), np.uint8)
        for band, values in enumerate(samples):
            picture[..., band] = self._band(band, values)
        if len(samples) == 1:
            picture[..., 1] = picture[..., 2] = picture[..., 0]
        if valid is not None:
            picture[~valid] = PAD_VALUE
        return picture

    def _band(self, band: int, values: NDArray[np.generic]) -> NDArray[np.generic]:
        if self.low is None or self.high is None:
            return values
        low, high = self.low[band], self.high[band]
        # float32 holds 24 bits: far more than the 8 of the result, but 32-bit counts lose their offset first.
        kind = np.float64 if values.dtype.itemsize > 2 and values.dtype.kind in "iu" else np.float32
        with np.errstate(over="ignore", invalid="ignore"):  # of outliers and infinities
            scaled = (values.astype(kind) - kind(low)) * kind(255 / (high - low))
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        eight: NDArray[np.uint8] = np.rint(scaled.clip(0, 255, out=scaled)).astype(np.uint8)
        return eight
