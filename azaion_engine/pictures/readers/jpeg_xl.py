"""JpegXlReader: JPEG XL by imagecodecs, which wraps libjxl.

Header: ISO/IEC 18181-1, annex D; container: ISO/IEC 18181-2, clause 9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.extras import import_if_installed
from azaion_engine.pictures.readers.base import PixelReader
from azaion_engine.pictures.readers.heif import EXTRA
from azaion_engine.pictures.readers.stretch import to_8_bits

_PIXEL_BYTES = 40
"""Bytes a pixel: libjxl's planes of floats, the result in up to 16 bytes, its 8 bits (measured: SECURITY.md)."""
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_SIDE_BITS = (9, 13, 18, 30)
_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""Width to height, by the header's number."""
_MOST_BOXES = 256
_THREADS = 1
"""Threads of the decoder: pictures are decoded beside each other."""


class JpegXlReader(PixelReader):
    """Decodes the first frame of a JPEG XL, upright; its alpha is dropped."""

    mode = "RGB"

    def __init__(self, data: bytes) -> None:
        """Reads the size from the header.

        Args:
            data: The file: a codestream or a container.

        Raises:
            UnsupportedPictureError: imagecodecs is not installed.
            UndecodablePictureError: The header is damaged.
        """
        self._codecs = import_if_installed("imagecodecs")
        if self._codecs is None:
            raise UnsupportedPictureError(f"given a JPEG XL, which needs another package here: {EXTRA}")
        self._data = data
        self.width, self.height = _read_size(_codestream(data))

    def pixel_bytes(self) -> int:
        """Returns what was measured."""
        return _PIXEL_BYTES

    def read(self) -> NDArray[np.uint8]:
        """Decodes the picture and turns it upright."""
        samples: NDArray[Any] = self._codecs.jpegxl_decode(self._data, index=0, numthreads=_THREADS)
        samples = samples if samples.ndim == 3 else samples[..., None]
        if sorted(samples.shape[:2]) != sorted((self.height, self.width)):
            raise UndecodablePictureError("its headers give different sizes")
        colours = samples[..., :3] if samples.shape[2] >= 3 else samples[..., :1]
        if colours.dtype.kind == "f":
            colours = _levels(colours)
        elif colours.dtype != np.uint8:
            colours = to_8_bits(colours, (1 << 16) - 1)
        return np.require(np.broadcast_to(colours, (*colours.shape[:2], 3)), requirements=["C", "W"])


def _levels(floats: NDArray[Any]) -> NDArray[np.uint8]:
    """Converts floats, of which 1 is white, row by row: copies of all of them would take far more than the picture."""
    levels = np.empty(floats.shape, np.uint8)
    for row, out in zip(floats, levels, strict=True):
        out[:] = np.rint(np.clip(np.nan_to_num(row.astype(np.float32)) * 255, 0, 255))
    return levels


def _codestream(data: bytes) -> bytes:
    """Returns the begin of the codestream, at least as much of it as the size takes."""
    if not data.startswith(_CONTAINER):
        return data[:64]
    at = 0
    for _ in range(_MOST_BOXES):
        size, name, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if name in (b"jxlc", b"jxlp"):
            begin = at + head + (4 if name == b"jxlp" else 0)  # the part's number
            return data[begin : begin + 64]
        if size < head:
            break
        at += size
    raise UndecodablePictureError("the JPEG XL is damaged or truncated: it has no codestream")


def _read_size(stream: bytes) -> tuple[int, int]:
    """Reads (width, height) as displayed."""
    if not stream.startswith(_CODESTREAM) or len(stream) < 12:
        raise UndecodablePictureError("the JPEG XL is damaged or truncated: its header is missing")
    bits = _Bits(int.from_bytes(stream[2:], "little"))
    small = bits.take(1)
    height = bits.side(small)
    ratio = _RATIOS[bits.take(3)]
    width = bits.side(small) if ratio is None else height * ratio[0] // ratio[1]
    all_default = bits.take(1)
    orientation = 1 + bits.take(3) if not all_default and bits.take(1) else 1
    return (height, width) if orientation >= 5 else (width, height)


class _Bits:
    """Reads bits, least significant first."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken

    def side(self, small: int) -> int:
        return 8 * (1 + self.take(5)) if small else 1 + self.take(_SIDE_BITS[self.take(2)])
