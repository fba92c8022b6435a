"""Pixels: an image that Pillow has loaded → upright 8-bit RGB."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.PngImagePlugin import PngImageFile

from azaion_engine.pictures.header import DEEP_GREY_MODES, TIFF_BITS

_TIFF_PHOTOMETRIC = 262
_STRIP_SAMPLES = 1 << 20
"""Deep grey samples converted per strip: 8 MiB of float64 for each copy."""


def to_rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Converts a loaded image of any accepted mode to uint8 `[height, width, 3]`; deep grey is scaled, not clipped."""
    if image.mode in DEEP_GREY_MODES:
        grey: NDArray[np.uint8] = cv2.cvtColor(_deep_grey_to_8_bit(image), cv2.COLOR_GRAY2RGB)
        return grey
    image.info.pop("transparency", None)  # dropped like alpha; some conversions would warn about it
    opaque = image.convert("LA") if image.mode == "La" else image
    return np.array(opaque if opaque.mode == "RGB" else opaque.convert("RGB"))


def _deep_grey_to_8_bit(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    # Image.convert would clip these at 255: nearly every picture would become white.
    samples: NDArray[Any] = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") or isinstance(image, PngImageFile):
        # The high byte, as Pillow uses for 16-bit colour, so that grey and colour versions of a picture match.
        grey = (samples >> (4 if tags.get(TIFF_BITS) == (12,) else 8)).astype(np.uint8)
    else:
        # TIFF with float, signed or 32-bit samples: floats within 0…1 keep that range; all others have no defined
        # white and are scaled from their minimum to their maximum.
        # Two passes over strips: float64 copies of a whole large picture would take gigabytes.
        step = max(1, _STRIP_SAMPLES // samples.shape[1])
        strips = [slice(top, top + step) for top in range(0, samples.shape[0], step)]
        lows, highs = zip(
            *((values.min(), values.max()) for values in (_finite(samples[s]) for s in strips)), strict=True
        )
        low, high = float(min(lows)), float(max(highs))
        if image.mode == "F" and low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        grey = np.empty(samples.shape, np.uint8)
        for strip in strips:
            grey[strip] = np.rint((_finite(samples[strip]) - low) * (255 / max(high - low, 1e-300)))
    # WhiteIsZero: Pillow inverts it up to 8 bits only.
    return np.bitwise_not(grey) if tags.get(_TIFF_PHOTOMETRIC) == 0 else grey


def _finite(samples: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(samples.astype(np.float64), posinf=0.0, neginf=0.0)


def turn_upright(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undoes an EXIF orientation 1…8 (EXIF 2.32, tag 0x0112) of uint8 `[height, width, 3]`."""
    if orientation in (5, 7):
        picture = cv2.transpose(picture)
    turns = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if orientation in turns:
        picture = cv2.rotate(picture, turns[orientation])
    elif orientation in (2, 4):
        picture = cv2.flip(picture, 1 if orientation == 2 else 0)
    return picture
