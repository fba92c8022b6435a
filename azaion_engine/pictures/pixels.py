"""Pixels: an image that Pillow has loaded → upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.header import DEEP_GREY_MODES, PictureLimits, check_pixels
from azaion_engine.pictures.readers.failures import failed
from azaion_engine.pictures.readers.stretch import to_8_bits

_WHITE = 65535
"""White of 16 bits."""
_PILLOW_IMAGE = 14
"""Bytes a pixel: Pillow's pixels and a converted copy of them, the result, and that turned upright."""
_EXIF_ORIENTATION = 0x0112
_STRIP_SAMPLES = 1 << 18
"""Pixels converted per strip."""


def to_rgb(image: ImageFile.ImageFile, data: bytes) -> NDArray[np.uint8]:
    """Converts a loaded image of any accepted mode to uint8 `[height, width, 3]`; deep samples are scaled, not clipped.

    Args:
        image: The image, whose pixels Pillow has decoded.
        data: The file that it was decoded from.
    """
    if image.mode in DEEP_GREY_MODES:  # a PNG: `readers` decode other formats
        samples = np.empty((image.height, image.width), np.uint16)
        for top, strip in _strips(image):  # Pillow's export of a whole picture holds it three times
            samples[top : top + strip.height] = np.asarray(strip)
        grey = to_8_bits(samples, _WHITE)
        del samples
        return np.repeat(grey[..., None], 3, axis=2)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in _strips(image):
        strip.info.pop("transparency", None)  # dropped like alpha; some conversions would warn about it
        opaque = strip.convert("LA") if strip.mode == "La" else strip
        rgb[top : top + strip.height] = np.asarray(opaque if opaque.mode == "RGB" else opaque.convert("RGB"))
    if is_deep_colour(data) and not _uses_high_bits(rgb):
        del rgb
        # Pillow has kept the high bytes only. It has also shown that the file is whole: OpenCV hides damage.
        deep: NDArray[np.uint16] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if deep is None or deep.dtype != np.uint16 or deep.shape[:2] != (image.height, image.width):
            raise UndecodablePictureError("its samples of 16 bits cannot be decoded")
        return to_8_bits(deep[..., 2::-1], _WHITE)
    return rgb


def from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    """Converts a caller's PIL image to upright uint8 `[height, width, 3]`, as `EncodedPicture.decode` does its file.

    Args:
        image: Of any mode that Pillow converts to RGB; deep grey is stretched. Not changed, but loaded if it is lazy.

    Raises:
        UndecodablePictureError: Its pixels cannot be loaded.
        OutOfMemoryError: No memory was left.
    """
    try:
        image.load()
        if image.mode in DEEP_GREY_MODES:
            grey = to_8_bits(np.asarray(image), _WHITE if image.mode.startswith("I;16") else None)
            picture = np.repeat(grey[..., None], 3, axis=2)
        else:
            opaque = image.convert("LA") if image.mode == "La" else image
            picture = np.array(opaque if opaque.mode == "RGB" else opaque.convert("RGB"))
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception as error:  # Pillow's plug-ins raise many types on damaged files
        raise failed(image.format or "PIL image", error, 0) from error
    return turn_upright(picture, orientation if isinstance(orientation, int) else 1)


def pillow_image_bytes(image: Image.Image, limits: PictureLimits) -> int:
    """Returns the bytes that `from_pillow` takes.

    Raises:
        PictureTooLargeError: More pixels than `limits`.
    """
    check_pixels(image.width, image.height, limits)
    return image.width * image.height * _PILLOW_IMAGE


def is_deep_colour(data: bytes) -> bool:
    """Returns whether a file is a PNG of 16 bits with colours or alpha: header chunk, PNG third edition, 11.2.1.

    Of these Pillow keeps the high bytes only.
    """
    return data.startswith(b"\x89PNG") and len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6)


def _uses_high_bits(high_bytes: NDArray[np.uint8]) -> bool:
    """Returns whether samples of 16 bits surely keep their white: what `stretch` decides, from some high bytes."""
    flat = high_bytes.reshape(-1)
    low, high = np.percentile(flat[:: max(1, flat.size >> 20)], (0.5, 99.5))
    return bool(high >= 128 and high - low >= 64)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yields (first row, rows from it on): copies of a whole large picture would take gigabytes."""
    step = max(1, _STRIP_SAMPLES // image.width)
    for top in range(0, image.height, step):
        yield top, image.crop((0, top, image.width, min(top + step, image.height)))


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
