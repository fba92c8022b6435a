"""JPEG strict: decodes a JPEG in one pass and tells whether libjpeg warned, which shows that all scans are whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def decode_strictly(data: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """Decodes a grey, YCbCr or RGB JPEG to exactly the pixels of OpenCV and Pillow.

    libjpeg warns of every scan whose data end before its pixels do. Only simplejpeg, of the extra `formats`, passes
    its warnings on.

    Args:
        data: The file.
        width: In pixels, as stored.
        height: In pixels, as stored.

    Returns:
        uint8 `[height, width, 3]`, RGB, as stored. None where simplejpeg is not installed, and for a JPEG with a
        warning or an error, which may be whole nevertheless: data too many are a warning, too.
    """
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    try:
        picture: NDArray[np.uint8] = decode_jpeg(data, "RGB", strict=True)
    except ValueError:
        return None
    return picture if picture.shape == (height, width, 3) else None
