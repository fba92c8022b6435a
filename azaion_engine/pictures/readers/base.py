"""PixelReader: what decodes a picture instead of Pillow's plug-in of its format."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class PixelReader(ABC):
    """Decodes one picture; knows its size and its memory before.

    Attributes:
        width: In pixels, as stored.
        height: In pixels, as stored.
        mode: Kind of the stored pixels, by Pillow's name or in its style: `RGB`, `F`, `RGB;16`.
    """

    width: int
    height: int
    mode: str

    @abstractmethod
    def pixel_bytes(self) -> int:
        """Returns the bytes a pixel that `read` takes at most, the result included."""

    @abstractmethod
    def read(self) -> NDArray[np.uint8]:
        """Decodes the picture.

        Returns:
            uint8 `[height, width, 3]`, RGB, as stored, contiguous and writable.

        Raises:
            Exception: Of any type, on damaged files, as decoders do.
        """
