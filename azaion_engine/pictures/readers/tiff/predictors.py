"""Predictors: undoes what TIFF encoders do to samples before they compress them.

Horizontal differences: TIFF 6.0, section 14. Floats: Adobe Photoshop TIFF Technical Note 3 (2005).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_PREDICTOR, HORIZONTAL, FLOATING = 1, 2, 3


def add_differences(samples: NDArray[Any]) -> NDArray[Any]:
    """Undoes predictor 2: each sample is stored as the difference to the one of the pixel to its left.

    Args:
        samples: Unsigned integers `[..., pixels of one row, samples of a pixel]`, in the machine's byte order.
    """
    return np.cumsum(samples, axis=-2, dtype=samples.dtype)


def join_float_bytes(stored: NDArray[np.uint8], samples: int, size: int) -> NDArray[np.uint8]:
    """Undoes predictor 3: all most significant bytes of a row come first, and all bytes are differences.

    Args:
        stored: Bytes `[..., bytes of one row]`.
        samples: Samples of a pixel.
        size: Bytes of a sample.

    Returns:
        The same shape: big-endian floats.
    """
    *leading, count = stored.shape
    added = np.cumsum(stored.reshape(*leading, count // samples, samples), axis=-2, dtype=np.uint8)
    planes = added.reshape(*leading, size, count // size)
    return np.ascontiguousarray(np.swapaxes(planes, -1, -2)).reshape(stored.shape)
