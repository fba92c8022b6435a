"""JPEG probe: tells whether a scan is whole, by what libjpeg makes of the file with other bytes at its end.

libjpeg only warns of a scan that ends early, or that is over before its data are; neither OpenCV nor Pillow passes the
warnings on. But they can be seen: noise behind a whole scan changes no pixel, noise behind one that is cut off does;
noise instead of the last bytes of a whole scan changes pixels, instead of bytes that are never read it does not.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from azaion_engine.pictures.readers.jpeg.header import END_MARKER

_FILL = b"\xff"
"""Bytes that may stand before any marker (ITU-T T.81, B.1.1.2); compressed data do not end with one."""
_NOISE = bytes(byte for byte in np.random.default_rng(81).integers(1, 255, 256, dtype=np.uint8))
"""Bytes without 0x00 and 0xFF, which would be read as padding or markers."""
_REPLACED = 32
"""Bytes at the end of a scan that are left out or replaced: some blocks'."""


def checksum(picture: NDArray[np.uint8]) -> int:
    """Returns a checksum of pixels, by which the functions below compare them."""
    return zlib.crc32(picture.data)


def is_not_cut(data: bytes, end: int, known: int) -> bool:
    """Returns whether a JPEG's last scan has data for all of its pixels; decodes it once or twice.

    Args:
        data: The file.
        end: Offset of the end marker, behind the last scan's data.
        known: Checksum of what was decoded of it, RGB as stored, by OpenCV or Pillow.
    """
    end = len(data[:end].rstrip(_FILL))
    with_noise = _pixels(data, end, _NOISE)
    # Pillow converts CMYK in another way than OpenCV.
    return known == with_noise or _pixels(data, end) == with_noise


def is_read_to_its_end(data: bytes, start: int, end: int) -> bool:
    """Returns whether libjpeg reads a JPEG's only scan, which is not cut, to its end, padding left aside.

    Decodes it up to eight times: for suspects only.

    Args:
        data: The file.
        start: Offset of the scan's compressed data.
        end: Offset of the end marker behind it.
    """
    end = len(data[:end].rstrip(_FILL))
    known = _pixels(data, end)
    shorter = max(start, end - _REPLACED)
    if _pixels(data, shorter) != known or _pixels(data, shorter, _NOISE[:_REPLACED]) != known:
        return True
    if _pixels(data, start) == known:  # all of it is what libjpeg fills in
        return True
    padded = len(data[:end].rstrip(b"\0")) + 2  # a scan may end with a zero or two
    return padded < end and _pixels(data, padded) == known and _pixels(data, padded, _NOISE) == known


def _pixels(data: bytes, end: int, behind: bytes = b"") -> int:
    """Returns a checksum of the pixels of a file up to an offset, with other bytes and an end marker behind it."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    file = b"".join([memoryview(data)[:end], behind, END_MARKER])  # the only copy
    picture = cv2.imdecode(np.frombuffer(file, np.uint8), flags)
    return 0 if picture is None else checksum(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture))
