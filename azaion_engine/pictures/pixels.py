"""Pixels: an image that Pillow has loaded → upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from azaion_engine.pictures.header import DEEP_GREY_MODES, TIFF_BITS

_TIFF_PHOTOMETRIC = 262
_STRIP_SAMPLES = 1 << 18
"""Pixels converted per strip: 2 MiB of float64 for each copy of deep grey samples."""


def to_rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    """Converts a loaded image of any accepted mode to uint8 `[height, width, 3]`; deep grey is scaled, not clipped."""
    scale = _deep_grey_scale(image) if image.mode in DEEP_GREY_MODES else None
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in _strips(image):
        if scale is not None:
            rgb[top : top + strip.height] = scale(np.asarray(strip))[:, :, None]
            continue
        strip.info.pop("transparency", None)  # dropped like alpha; some conversions would warn about it
        opaque = strip.convert("LA") if strip.mode == "La" else strip
        rgb[top : top + strip.height] = np.asarray(opaque if opaque.mode == "RGB" else opaque.convert("RGB"))
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yields (first row, rows from it on): copies of a whole large picture would take gigabytes."""
    step = max(1, _STRIP_SAMPLES // image.width)
    for top in range(0, image.height, step):
        yield top, image.crop((0, top, image.width, min(top + step, image.height)))


def _deep_grey_scale(image: ImageFile.ImageFile) -> Callable[[NDArray[Any]], NDArray[np.uint8]]:
    """Returns what makes 8 bits of its samples; Image.convert would clip them at 255, and nearly all would be white."""
    tags: Any = getattr(image, "tag_v2", {})
    # WhiteIsZero: Pillow inverts it up to 8 bits only.
    mask = np.uint8(255 if tags.get(_TIFF_PHOTOMETRIC) == 0 else 0)
    if image.mode.startswith("I;16") or isinstance(image, PngImageFile):
        # The high byte, as Pillow uses for 16-bit colour, so that grey and colour versions of a picture match.
        shift = 4 if tags.get(TIFF_BITS) == (12,) else 8

        def high_byte(samples: NDArray[Any]) -> NDArray[np.uint8]:
            grey: NDArray[np.uint8] = (samples >> shift).astype(np.uint8) ^ mask
            return grey

        return high_byte
    # TIFF with float, signed or 32-bit samples: floats within 0…1 keep that range; all others have no defined
    # white and are scaled from their minimum to their maximum.
    extremes = [(values.min(), values.max()) for values in (_finite(np.asarray(strip)) for _, strip in _strips(image))]
    low, high = float(min(low for low, _ in extremes)), float(max(high for _, high in extremes))
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    factor = 255 / max(high - low, 1e-300)

    def scaled(samples: NDArray[Any]) -> NDArray[np.uint8]:
        grey: NDArray[np.uint8] = np.rint((_finite(samples) - low) * factor).astype(np.uint8) ^ mask
        return grey

    return scaled


def _finite(samples: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN
        return np.nan_to_num(samples.astype(np.float64), copy=False, posinf=0.0, neginf=0.0)


def turn_upright(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undoes an EXIF orientation 1…8 (EXIF 2.32, tag 0x0112) of uint8 `[height, width, 3]`, in place where it can."""
    flips = {2: 1, 3: -1, 4: 0, 7: -1}
    if orientation in (5, 7):
        picture = cv2.transpose(picture)
    if orientation in flips:
        picture = cv2.flip(picture, flips[orientation], dst=picture)
    elif orientation in (6, 8):
        picture = cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE if orientation == 6 else cv2.ROTATE_90_COUNTERCLOCKWISE)
    return picture
