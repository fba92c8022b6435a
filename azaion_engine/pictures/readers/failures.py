"""Failures: what decoders raise becomes typed errors."""

from __future__ import annotations

import numpy as np
from PIL import Image

from azaion_engine.errors import (
    QUOTED,
    AzaionError,
    OutOfMemoryError,
    PictureTooLargeError,
    UndecodablePictureError,
)

_NO_HEADER = ("not identified by this driver", "unpack_from requires")
"""Beginnings of Pillow's messages where its plug-in of the format finds no size in the header."""


def _allocatable(needed: int) -> bool:
    try:
        np.empty(needed, np.uint8)  # takes address space only, as nothing is written
    except MemoryError:
        return False
    return True


def failed(name: str, error: BaseException, needed: int) -> AzaionError:
    """Converts any error that a decoder raised on a picture to the typed one.

    Args:
        name: The picture's format.
        error: What was raised.
        needed: Memory that the failed step takes, in bytes. Where as much cannot be allocated, that was the reason:
            libjpeg and libwebp report the lack of memory like damage.

    Returns:
        OutOfMemoryError if no memory was left, PictureTooLargeError for Pillow's own limit, which counts only if
        `max_pixels` exceeds twice PIL.Image.MAX_IMAGE_PIXELS, a process-wide value that a library must not change,
        and UndecodablePictureError for all else.
    """
    if isinstance(error, MemoryError) or "out of memory" in str(error) or not _allocatable(needed):
        return OutOfMemoryError(f"no memory was left to decode the {name}; try again later")
    if isinstance(error, Image.DecompressionBombError):
        return PictureTooLargeError(f"the {name} has more pixels than Pillow is set to accept: {error}")
    reason = str(error)[:QUOTED] or type(error).__name__
    if reason.startswith(_NO_HEADER):
        reason = "its header is cut off or not valid"
    return UndecodablePictureError(f"the {name} is damaged or truncated: {reason}")
