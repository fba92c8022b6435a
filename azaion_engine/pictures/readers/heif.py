"""HeifReader: AVIFs by Pillow's own decoder, HEICs by pillow-heif's; both decode the primary picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import features

from azaion_engine.errors import PictureTooLargeError, UnsupportedPictureError
from azaion_engine.extras import import_if_installed
from azaion_engine.pictures.readers.base import PixelReader
from azaion_engine.pictures.readers.iso_boxes import claimed_sizes
from azaion_engine.pictures.readers.iso_items import check_written

_PIXEL_BYTES = {"AVIF": 20, "HEIC": 20}
"""Bytes a pixel: planes of up to 16 bits, their RGB, Pillow's copies of it, the result (measured: SECURITY.md)."""
EXTRA = "pip install 'azaion-engine[formats]'"


class HeifReader(PixelReader):
    """Decodes the primary picture of an AVIF or a HEIC; its alpha is dropped."""

    def __init__(self, name: str, data: bytes, max_pixels: int) -> None:
        """Opens the file, which parses its boxes and decodes nothing.

        Args:
            name: `AVIF` or `HEIC`.
            data: The file.
            max_pixels: Maximum pixels of the largest picture in it.

        Raises:
            UnsupportedPictureError: What decodes it is not installed.
            UndecodablePictureError: It claims no size, or its pixels were never written to their end.
            PictureTooLargeError: It claims more pixels.
            Exception: Of any type, on damaged files, as the decoder.
        """
        opener = _openers()[name]()
        if opener is None:
            raise UnsupportedPictureError(f"given {_article(name)}, which needs another package here: {EXTRA}")
        width, height = max(claimed_sizes(data), key=lambda size: size[0] * size[1])
        if width * height > max_pixels:
            raise PictureTooLargeError(
                f"the picture has {width}×{height} = {width * height} pixels, at most {max_pixels} are accepted"
            )
        check_written(data)
        self._image = opener(io.BytesIO(data))
        self._name = name
        self.width, self.height = self._image.size
        self.mode = self._image.mode
        self.exif: bytes = self._image.info.get("exif") or b""

    def pixel_bytes(self) -> int:
        """Returns what was measured."""
        return _PIXEL_BYTES[self._name]

    def read(self) -> NDArray[np.uint8]:
        """Decodes the picture."""
        image, self._image = self._image, None
        image.load()
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _openers() -> dict[str, Callable[[], Any]]:
    return {"AVIF": _avif, "HEIC": _heic}


def _avif() -> Any:
    if not features.check("avif"):
        return None
    from PIL.AvifImagePlugin import AvifImageFile

    return AvifImageFile


def _heic() -> Any:
    package = import_if_installed("pillow_heif")
    return None if package is None else package.HeifImageFile


def _article(name: str) -> str:
    return f"an {name}" if name == "AVIF" else f"a {name}"
