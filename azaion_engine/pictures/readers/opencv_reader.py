"""OpencvReader: what OpenCV decodes and Pillow does not: YCbCr and CIELab TIFFs, BMPs with unusual bit fields."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.readers.base import PixelReader

_PIXEL_BYTES = 12
"""Bytes a pixel that OpenCV takes: the result, and the RGBA pixels of one strip or tile, at most the whole picture."""


class OpencvReader(PixelReader):
    """Decodes with `cv2.imdecode`."""

    def __init__(self, data: bytes, width: int, height: int, mode: str = "RGB") -> None:
        """Stores the arguments; decodes nothing.

        Args:
            data: The file, whose header gives the size, and whose pieces lie within it: OpenCV hides truncation.
            width: In pixels, as stored.
            height: In pixels, as stored.
            mode: Kind of the stored pixels.
        """
        self.width, self.height, self.mode = width, height, mode
        self._data = data

    def pixel_bytes(self) -> int:
        """Returns OpenCV's."""
        return _PIXEL_BYTES

    def read(self) -> NDArray[np.uint8]:
        """Decodes the picture.

        Raises:
            UndecodablePictureError: OpenCV refuses it, or finds another size.
        """
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        picture: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(self._data, np.uint8), flags)
        if picture is None or picture.shape != (self.height, self.width, 3):
            raise UndecodablePictureError("its pixels cannot be decoded")
        rgb: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)
        return rgb
