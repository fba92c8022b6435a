"""BmpFields: BMPs of 16 or 32 bits a pixel whose masks Pillow does not know."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.readers.base import PixelReader

_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
_INFO_HEADER = 40
"""Bytes of BITMAPINFOHEADER, the first with a compression; masks follow it, or are part of a longer header."""
_STRIP_PIXELS = 1 << 18


class BmpFields(PixelReader):
    """Decodes a BMP of compression BI_BITFIELDS (Microsoft, "BITMAPINFOHEADER structure" and "BITMAPV4HEADER")."""

    mode = "RGB"

    def __init__(self, data: bytes) -> None:
        """Reads the header.

        Args:
            data: A BMP of which `is_bitfields` holds.

        Raises:
            UnsupportedPictureError: The masks or the number of bits are unusual even here.
            UndecodablePictureError: The file is truncated.
        """
        try:
            [self._offset] = struct.unpack_from("<I", data, 10)
            self.width, height, _, bits = struct.unpack_from("<iiHH", data, 18)
            self._masks = struct.unpack_from("<3I", data, 14 + _INFO_HEADER)
        except struct.error:
            raise UndecodablePictureError("the BMP is damaged or truncated: its header is cut off") from None
        if bits not in (16, 32) or not all(_is_run(mask) and mask < 1 << bits for mask in self._masks):
            masks = ", ".join(f"{mask:#x}" for mask in self._masks)
            raise UnsupportedPictureError(f"given a BMP of {bits} bits with the bit fields {masks}")
        self.height, self._downwards = abs(height), height < 0
        self._dtype = np.dtype(f"<u{bits // 8}")
        self._row = -(-self.width * bits // 32) * 4  # rows are padded to 4 bytes
        if self.width <= 0 or not height or self._offset + self._row * self.height > len(data):
            raise UndecodablePictureError("the BMP is damaged or truncated: its pixels are cut off")
        self._data = data

    def pixel_bytes(self) -> int:
        """Returns the bytes of the result: pixels are converted in strips."""
        return 3

    def read(self) -> NDArray[np.uint8]:
        """Converts the pixels; each field is scaled to 0…255."""
        picture = np.empty((self.height, self.width, 3), np.uint8)
        step = max(1, _STRIP_PIXELS // self.width)
        stored = np.frombuffer(self._data, np.uint8, self._row * self.height, self._offset)
        rows = stored.reshape(self.height, self._row)[:: 1 if self._downwards else -1]
        for top in range(0, self.height, step):
            strip = np.ascontiguousarray(rows[top : top + step]).view(self._dtype)[:, : self.width]
            for channel, mask in enumerate(self._masks):
                shift = (mask & -mask).bit_length() - 1
                most = mask >> shift
                field = ((strip & mask) >> shift).astype(np.float32 if most > 255 else np.uint16)
                picture[top : top + step, :, channel] = field * 255 // most if most != 255 else field
        return picture


def is_bitfields(data: bytes) -> bool:
    """Returns whether a BMP's compression is bit fields."""
    if len(data) < 14 + _INFO_HEADER or struct.unpack_from("<I", data, 14)[0] < _INFO_HEADER:
        return False
    return struct.unpack_from("<I", data, 30)[0] in (_BITFIELDS, _ALPHA_BITFIELDS)


def _is_run(mask: int) -> bool:
    """Returns whether the set bits of a mask are neighbours, and at least one."""
    return mask > 0 and ((mask + (mask & -mask)) & mask) == 0
