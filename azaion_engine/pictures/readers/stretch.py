"""Stretch: samples of any depth → 8 bits, by their content.

Which samples count: NaN, infinities, the value that the file tags as nodata and well-known fill values do not; single
hot or dead pixels neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIP_SAMPLES = 1 << 18
"""Pixels converted per strip: 2 MiB of float64 for each copy of grey samples."""
_MOST_SAMPLES = 1 << 20
"""Samples that percentiles are taken of."""
_PERCENTILES = (0.5, 99.5)
_FENCE = 3.0
"""Samples this many times the percentiles' distance beyond them are outliers."""
HUGE = 1e30
"""Floats beyond are fill values: -3.4e38 and 1e38 are written for missing samples; no camera measures them."""
_FILLS = (-9999.0, -99999.0, -32768.0, -32767.0, -2147483648.0)
"""Values that mean nodata in files without a tag, if all other samples are farther away than from each other; of
unsigned integers, 0 and the largest number do."""
_LEAST_RANGE = {"u": 255, "i": 1, "f": 0}
"""Range of the other samples from which on that holds: a picture of two levels has no nodata."""
_FEW = 2
"""Pixels of a 3×3 neighbourhood up to which those left out are single ones."""


@dataclass(frozen=True)
class Stretch:
    """How samples become 8 bits: `low` becomes 0, `high` 255, and those that do not count 0.

    Attributes:
        low: Sample of the darkest level.
        high: Sample of the brightest level.
        nodata: Values that do not count.
        inverted: Whether `high` is black: the tag WhiteIsZero.
    """

    low: float
    high: float
    nodata: tuple[float, ...] = ()
    inverted: bool = False

    def leaves_out(self, samples: NDArray[Any]) -> NDArray[np.bool_]:
        """Tells which samples do not count or lie outside of the range."""
        with np.errstate(invalid="ignore"):
            outside: NDArray[np.bool_] = ~_counts(samples, self.nodata) | (samples < self.low) | (samples > self.high)
        return outside

    def apply(self, samples: NDArray[Any]) -> NDArray[np.uint8]:
        """Converts samples of any shape."""
        with np.errstate(invalid="ignore", over="ignore"):  # a signalling NaN warns when it is widened
            levels = samples.astype(np.float64)
            levels -= self.low
            levels *= 255 / max(self.high - self.low, 1e-300)
            counts = _counts(samples, self.nodata)
            np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
        if not counts.all():
            levels[~counts] = 255 if self.inverted else 0
        grey: NDArray[np.uint8] = levels.astype(np.uint8)
        grey ^= np.uint8(255 if self.inverted else 0)
        return grey


def to_8_bits(
    samples: NDArray[Any], white: int | None = None, nodata: float | None = None, inverted: bool = False
) -> NDArray[np.uint8]:
    """Converts samples to 8 bits, with one stretch for all bands.

    Unsigned samples of 8 bits stay what they are. Deeper ones with a defined white keep it where they use their highest
    bit and a quarter of their levels: the 8 highest bits are taken. All others are stretched by content
    (`find_stretch`): those of 11 or 12 bits in 16, counts of a thermal camera, signed and 32-bit samples, floats.

    Args:
        samples: `[height, width]` or `[height, width, bands]`, any real type.
        white: Largest value that the type of sample can hold, where that is white; None: it has no defined white.
        nodata: Value of samples that do not count.
        inverted: Whether 0 is white.

    Returns:
        uint8, the same shape.
    """
    if samples.dtype == np.uint8:
        copy: NDArray[np.uint8] = samples ^ np.uint8(255 if inverted else 0)
        return copy
    stretch = find_stretch(samples, white, nodata, inverted)
    grey = np.empty(samples.shape, np.uint8)
    shift = None if white is None or stretch is not None else white.bit_length() - 8
    for rows in _strips(samples):
        if stretch is not None:
            grey[rows] = stretch.apply(samples[rows])
            _mend_single(grey[rows], stretch.leaves_out(samples[rows]))
        else:
            grey[rows] = (samples[rows] >> shift).astype(np.uint8) ^ np.uint8(255 if inverted else 0)
    return grey


def find_stretch(
    samples: NDArray[Any], white: int | None, nodata: float | None, inverted: bool = False
) -> Stretch | None:
    """Finds the range of the samples that count, without outliers; arguments as in `to_8_bits`.

    1. Each sample is replaced by the median of its 3×3 neighbours: single hot pixels vanish, small objects stay.
    2. Of these, what lies more than three times the distance of the percentiles 0.5 and 99.5 beyond them is left out.
    3. The range is that of all samples that lie within it or within half of it beyond.
    4. Samples of at least 0 keep 0 as black if that costs less than a third of the levels; floats within 0…1 keep that
       range.

    Returns:
        None if the samples keep their defined white.
    """
    fills = find_fills(samples, nodata)
    rough = _rough_range(samples, fills)
    if rough is None:  # nothing counts
        return Stretch(0.0, 1.0, fills, inverted)
    reach = (rough[1] - rough[0]) / 2
    low, high = _exact_range(samples, fills, rough[0] - reach, rough[1] + reach)
    if white is not None and (low == high or (high > white // 2 and high - low >= white // 4)):
        return None if not fills else Stretch(0.0, float(white), fills, inverted)
    if samples.dtype.kind == "f" and low >= 0 and high <= 1:
        return Stretch(0.0, 1.0, fills, inverted)
    if 0 <= low <= (high - low) / 2:
        low = 0.0
    return Stretch(low, high, fills, inverted)


def _mend_single(grey: NDArray[np.uint8], left_out: NDArray[np.bool_]) -> None:
    """Gives single pixels that are left out, hot ones for instance, the median of their 3×3 neighbours, in place."""
    if not left_out.any():
        return
    neighbours = cv2.boxFilter(left_out.astype(np.uint8), -1, (3, 3), normalize=False).reshape(left_out.shape)
    single = left_out & (neighbours <= _FEW)
    if single.any():
        grey[single] = cv2.medianBlur(np.ascontiguousarray(grey), 3).reshape(grey.shape)[single]


def _strips(samples: NDArray[Any]) -> Iterator[slice]:
    step = max(1, _STRIP_SAMPLES // max(samples[0].size, 1))
    for top in range(0, len(samples), step):
        yield slice(top, top + step)


def _counts(samples: NDArray[Any], nodata: tuple[float, ...]) -> NDArray[np.bool_]:
    """Tells which samples mean something."""
    counts: NDArray[np.bool_]
    if samples.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            counts = np.abs(samples) < HUGE if samples.dtype.itemsize > 2 else np.isfinite(samples)
    else:
        counts = np.ones(samples.shape, np.bool_)
    for value in nodata:
        # A float32 file's nodata is the nearest float32, whatever digits the tag gives.
        with np.errstate(over="ignore"):
            counts &= samples != (samples.dtype.type(value) if samples.dtype.kind == "f" else int(value))
    return counts


def find_fills(samples: NDArray[Any], nodata: float | None) -> tuple[float, ...]:
    """Returns the values that mean nodata: the tagged one, else one of `_FILLS` that is far from all other samples.

    Args:
        samples: Of at least one dimension, any real type.
        nodata: The tagged value; None: there is none.
    """
    kind = samples.dtype.kind
    if nodata is not None and np.isfinite(nodata):
        if kind == "f":
            return (nodata,)
        limits = np.iinfo(samples.dtype)
        return (nodata,) if nodata.is_integer() and limits.min <= nodata <= limits.max else ()
    least, most = _exact_range(samples, (), -np.inf, np.inf)
    candidates = []
    if least in _FILLS or (kind == "u" and least == 0):
        candidates.append(least)
    if kind == "u" and most == np.iinfo(samples.dtype).max:
        candidates.append(most)
    fills: tuple[float, ...] = ()
    for value in candidates:
        low, high = _exact_range(samples, (*fills, value), -np.inf, np.inf)
        if high - low >= _LEAST_RANGE[kind] and abs(value - (low if value == least else high)) > high - low:
            fills = (*fills, value)
    return fills


def _rough_range(samples: NDArray[Any], fills: tuple[float, ...]) -> tuple[float, float] | None:
    """Returns the range of the medians that are no outliers, from at most some million of them; None if none counts."""
    kept: list[NDArray[Any]] = []
    every = max(1, samples.size // _MOST_SAMPLES)
    for rows in _strips(samples):
        part = samples[rows]
        counts = _counts(part, fills)
        if not counts.any():
            continue
        # OpenCV's median takes these two types; the rounding of wider ones does not matter for a rough range.
        narrow = part.copy() if part.dtype == np.uint16 else part.astype(np.float32)
        if not counts.all():
            narrow[~counts] = np.median(narrow[counts][:: max(1, counts.sum() // 4096)])
        medians = cv2.medianBlur(np.ascontiguousarray(narrow), 3).reshape(narrow.shape)
        kept.append(medians[counts][::every])
    if not kept:
        return None
    values = np.concatenate(kept).astype(np.float64)
    low, high = np.percentile(values, _PERCENTILES)
    if high > low:  # else nearly all are equal, and the others are what the picture shows
        reach = _FENCE * (high - low)
        values = values[(values >= low - reach) & (values <= high + reach)]
    return float(values.min()), float(values.max())


def _exact_range(samples: NDArray[Any], fills: tuple[float, ...], least: float, most: float) -> tuple[float, float]:
    """Returns the range of the samples that count and lie between two values."""
    low, high = np.inf, -np.inf
    for rows in _strips(samples):
        part = samples[rows]
        with np.errstate(invalid="ignore"):
            inside = part[_counts(part, fills) & (part >= least) & (part <= most)]
        if inside.size:
            low, high = min(low, float(inside.min())), max(high, float(inside.max()))
    return low, high
