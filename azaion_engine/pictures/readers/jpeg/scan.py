"""JPEG scan: decodes the most frequent kind of picture, a JPEG with one scan, by OpenCV, which hides damage."""

from __future__ import annotations

import os
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.bounds.jpeg_entropy import (
    has_all_restarts,
    has_blank,
    is_without_markers,
    last_restart_fits,
    least_scan_bytes,
)
from azaion_engine.pictures.bounds.jpeg_segments import next_marker
from azaion_engine.pictures.readers.failures import failed
from azaion_engine.pictures.readers.jpeg.header import END_MARKER, JpegHeader
from azaion_engine.pictures.readers.jpeg.probe import checksum, is_not_cut, is_read_to_its_end

_FILLED = 128
"""Level of what libjpeg fills in, of all three colours."""
_JPEG_END = 0xD9
_LARGE_BYTES = 32 * 2**20
"""Pixels from which on memory is fresh each time (mallopt(3), M_MMAP_THRESHOLD), so that copying them costs most."""


def decode_scan(
    data: bytes, jpeg: JpegHeader | None, width: int, height: int, scan: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """Decodes a JPEG with a single scan by OpenCV, and makes sure that the scan is whole.

    Args:
        data: The file.
        jpeg: Its header; None if it is of a kind that `read_jpeg_header` does not read.
        width: In pixels, as stored.
        height: In pixels, as stored.
        scan: From `scan_to_end`.

    Returns:
        uint8 `[height, width, 3]`, RGB, as stored; None if OpenCV fails: Pillow then decides.

    Raises:
        UndecodablePictureError: The scan is cut off or overwritten.
        OutOfMemoryError: No memory was left.
    """
    suspect = jpeg is not None and is_suspect(data, jpeg, scan)
    if jpeg is not None and jpeg.scans_all and jpeg.restart_interval:
        size = (jpeg.width, jpeg.height)
        if not has_all_restarts(data, *scan, jpeg.restart_interval, size, jpeg.components):
            raise cut_off()  # libjpeg would fill the gap, and go on behind it
    picture = _decode_by_opencv(data, width, height)
    if picture is None:
        return None
    # libjpeg fills missing units with a grey, up to the last one.
    if not suspect and not (picture[-1, -1] == _FILLED).all():
        return picture
    known = checksum(picture)
    del picture  # while others are decoded
    if not is_not_cut(data, scan[1], known) or (suspect and not is_read_to_its_end(data, *scan)):
        raise cut_off()
    return _decode_by_opencv(data, width, height)


def is_suspect(data: bytes, jpeg: JpegHeader, scan: tuple[int, int]) -> bool:
    """Returns whether a single scan shows a sign of being overwritten or cut off; takes microseconds.

    Args:
        data: The file.
        jpeg: Its header.
        scan: From `scan_to_end`.

    Raises:
        UndecodablePictureError: It is surely cut off: too short for its pixels.
    """
    start, end = scan
    if not jpeg.scans_all:
        return False
    size = (jpeg.width, jpeg.height)
    if end - start < least_scan_bytes(*size, jpeg.components):
        raise cut_off()
    interval = jpeg.restart_interval
    return has_blank(data, start, end) or (
        interval > 0 and not last_restart_fits(data, start, end, interval, size, jpeg.components)
    )


def cut_off() -> UndecodablePictureError:
    """Returns the error of a scan that is not whole."""
    return UndecodablePictureError("the JPEG is damaged or truncated: data are missing for a part of its pixels")


def _decode_by_opencv(data: bytes, width: int, height: int) -> NDArray[np.uint8] | None:
    """Decodes the most frequent kind of picture faster than Pillow, to exactly the same pixels.

    Both use libjpeg-turbo, but Pillow keeps four bytes per pixel and repacks them under the GIL. OpenCV hides
    truncation and damaged markers, so use it only for an 8-bit grey or YCbCr JPEG with a single scan that runs to
    its end marker. Returns None if OpenCV fails: Pillow then decides.

    Raises:
        OutOfMemoryError: No memory was left.
    """
    # IMREAD_COLOR_RGB came with OpenCV 4.11.
    rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)
    flags = (cv2.IMREAD_COLOR if rgb is None else rgb) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        if rgb is not None and 3 * width * height >= _LARGE_BYTES:
            large = _decode_into(np.empty((height, width, 3), np.uint8), data, flags)
            if large is not None:
                return large
        picture: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise failed("JPEG", MemoryError(), 0) from error
        return None
    except MemoryError as error:
        raise failed("JPEG", error, 0) from error
    if picture is None or picture.shape != (height, width, 3):
        return None
    return picture if rgb is not None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)


def _decode_into(picture: NDArray[np.uint8], data: bytes, flags: int) -> NDArray[np.uint8] | None:
    """Decodes into given memory, in half of `cv2.imdecode`'s time, which decodes into its own and copies that.

    Only `cv2.imread` takes memory, so the file lies in memory too. Returns None if that fails: `cv2.imdecode` decides.
    """
    with suppress(cv2.error, TypeError, AttributeError, OSError):  # TypeError: OpenCV before 4.11; OSError: no memfd
        file = os.memfd_create("jpeg")
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
            read: object = cv2.imread(f"/proc/self/fd/{file}", dst=picture, flags=flags)
            return picture if read is picture else None
        finally:
            os.close(file)
    return None


def scan_to_end(data: bytes, start: int) -> tuple[int, int] | None:
    """Returns the offsets of a scan's compressed data and of its end marker, if no other marker comes before."""
    end = len(data) - len(END_MARKER)
    if start < end and data.endswith(END_MARKER) and is_without_markers(data, start, end):
        return start, end
    found = next_marker(data, start)
    return (start, found[0] - 2) if found is not None and found[1] == _JPEG_END else None
