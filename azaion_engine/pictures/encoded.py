"""EncodedPicture: an encoded picture; reads its header once and decodes its pixels."""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from azaion_engine.errors import PictureError, UndecodablePictureError
from azaion_engine.pictures.header import (
    PictureHeader,
    PictureLimits,
    check_bytes,
    check_pixels,
    open_picture,
    pillow_limit,
    undecodable,
)
from azaion_engine.pictures.jpeg_header import JpegHeader, read_jpeg_header
from azaion_engine.pictures.pixels import to_rgb, turn_upright

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""A marker in entropy-coded JPEG data, not a stuffed byte, restart or fill byte (ITU-T T.81, B.1.1)."""
_JPEG_END = 0xD9
_JPEG_END_MARKER = bytes((0xFF, _JPEG_END))
_SCAN_STEP = 128 * 1024
"""Bytes per search: a regular expression holds the GIL, for long if every other byte is 0xFF."""
_JPEG_MAX_SCANS = 100
"""Progressive files have about ten; each further scan takes few bytes, but a pass over the whole picture."""


class EncodedPicture:
    """One encoded picture; used by one thread at a time.

    Attributes:
        data: The encoded picture.
        limits: Maximum size; checked before any pixel is decoded.
    """

    def __init__(self, data: bytes, limits: PictureLimits = PictureLimits()) -> None:  # noqa: B008 (frozen)
        """Stores the arguments; reads nothing yet.

        Args:
            data: The encoded picture: JPEG (MPO too), PNG, WebP, BMP or TIFF.
            limits: Maximum size.
        """
        self.data = data
        self.limits = limits
        self._opened: tuple[ImageFile.ImageFile, PictureHeader] | None = None
        self._looked = False
        self._jpeg: JpegHeader | None = None

    @property
    def jpeg(self) -> JpegHeader | None:
        """The header of a sequential JPEG, read in microseconds and without checks; None for every other picture."""
        # No cached_property: until Python 3.12 it takes a lock that all pictures share.
        if not self._looked:
            self._jpeg, self._looked = read_jpeg_header(self.data), True
        return self._jpeg

    def read_header(self) -> PictureHeader:
        """Reads size and orientation without decoding a pixel.

        Raises:
            EmptyBodyError: There are no bytes.
            UnsupportedPictureError: Not a picture, or a format or variant that is not accepted.
            UndecodablePictureError: The header is damaged.
            PictureTooLargeError: More bytes or pixels than the limits.
        """
        if self.jpeg is not None and self.jpeg.plain:
            check_bytes(self.data, self.limits)
            check_pixels(self.jpeg.width, self.jpeg.height, self.limits)
            return PictureHeader("JPEG", self.jpeg.width, self.jpeg.height, 1, self.jpeg.mode)
        return self._open()[1]

    def read_hardware_header(self) -> PictureHeader | None:
        """Reads the header of a JPEG that a hardware decoder turns into the same picture as `decode` does.

        Returns:
            Its header; None for any other picture: progressive, stored as CMYK or RGB, with unusual subsampling or
            several scans, truncated, or not a JPEG.

        Raises:
            PictureError: As `read_header`.
        """
        jpeg = self.jpeg
        if jpeg is None or not jpeg.suits_hardware:
            return None
        if jpeg.plain:
            header = self.read_header()
            # Header and end marker suffice to recognise a complete single scan. Searching for markers in between takes
            # far longer, and finds only damage that happens to look like a marker.
            whole = jpeg.scans_all and self.data.endswith(_JPEG_END_MARKER)
            return header if whole or self._is_whole_single_scan(jpeg.scan) else None
        image, header = self._open()
        if not isinstance(image, JpegImageFile) or not self._is_jpeg_for_opencv(image):
            return None
        # Pillow decides, as it does for `decode`: our own reader may have been misled by what it does not know.
        is_ycc = len(image.layer) == 1 or image.info.get("adobe_transform", 1) == 1
        same = tuple(component[:3] for component in image.layer) == jpeg.components
        if not is_ycc or not same or image.info.get("progressive"):
            return None
        self._opened = None  # its metadata must not live as long as this picture waits for the engine
        return header

    def decode(self) -> NDArray[np.uint8]:
        """Decodes the first frame and turns it upright.

        Alpha is dropped and ICC profiles are ignored, as in cv2.imread and hence in the data loaders that detectors are
        trained with. Compositing on white would also blank the many BMP and TIFF files whose fourth channel is unused
        and zero.

        Returns:
            uint8 `[height, width, 3]`, RGB, contiguous and writable.

        Raises:
            PictureError: As `read_header`; UndecodablePictureError also where the pixels are damaged or truncated.
        """
        picture: NDArray[np.uint8] | None
        jpeg = self.jpeg
        if jpeg is not None and jpeg.plain:
            self.read_header()  # checks the limits
            if self._is_whole_single_scan(jpeg.scan):
                picture = self._decode_by_opencv(jpeg.width, jpeg.height)
                if picture is not None:
                    return picture
        image, header = self._open()
        self._opened = None  # free Pillow's pixels early: this picture may wait long for the engine
        try:
            picture = self._decode_jpeg(image) if isinstance(image, JpegImageFile) else None
            if picture is None:
                image.load()
                picture = to_rgb(image)
            # Pillow turns a TIFF upright on loading, but no other format.
            return picture if header.format == "TIFF" else turn_upright(picture, header.orientation)
        except PictureError:
            raise
        except Image.DecompressionBombError as error:
            raise pillow_limit(header.width, header.height, error) from error
        except Exception as error:  # Pillow's plug-ins raise many types on damaged files: see the tests
            raise undecodable(header.format, error) from error

    def _open(self) -> tuple[ImageFile.ImageFile, PictureHeader]:
        if self._opened is None:
            self._opened = open_picture(self.data, self.limits)
        return self._opened

    def _decode_jpeg(self, image: JpegImageFile) -> NDArray[np.uint8] | None:
        """Decodes a JPEG with a single scan; returns None for any other, which Pillow then decodes.

        Raises:
            UndecodablePictureError: More than `_JPEG_MAX_SCANS` scans, which would take too long to decode.
        """
        if self._is_jpeg_for_opencv(image):  # even if data follow it, e.g. a phone's motion photo
            return self._decode_by_opencv(image.width, image.height)
        # FF DA begins a scan and cannot occur inside compressed data. Thumbnails and further frames add a few.
        scans = self.data.count(b"\xff\xda")
        if scans > _JPEG_MAX_SCANS:
            raise UndecodablePictureError(f"the JPEG has {scans} scans, at most {_JPEG_MAX_SCANS} are accepted")
        return None

    def _decode_by_opencv(self, width: int, height: int) -> NDArray[np.uint8] | None:
        """Decodes the most frequent kind of picture faster than Pillow, to exactly the same pixels.

        Both use libjpeg-turbo, but Pillow keeps four bytes per pixel and repacks them under the GIL. OpenCV hides
        truncation and damaged markers, so use it only for an 8-bit grey or YCbCr JPEG with a single scan that runs to
        its end marker. Returns None if OpenCV fails: Pillow then decides.
        """
        # IMREAD_COLOR_RGB came with OpenCV 4.11.
        rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)
        flags = (cv2.IMREAD_COLOR if rgb is None else rgb) | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            picture: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(self.data, np.uint8), flags)
        except cv2.error:
            return None
        if picture is None or picture.shape != (height, width, 3):
            return None
        return picture if rgb is not None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)

    def _is_jpeg_for_opencv(self, image: ImageFile.ImageFile) -> bool:
        """Returns whether it is an 8-bit grey or YCbCr JPEG with a single scan that runs to its end marker."""
        assert image.fp is not None
        # Pillow stopped at the first byte of the first scan.
        return image.mode in ("L", "RGB") and self._is_whole_single_scan(image.fp.tell())

    def _is_whole_single_scan(self, start: int) -> bool:
        """Returns whether the scan that begins at a position runs to the end marker."""
        return _first_marker(self.data, start) == _JPEG_END


def _first_marker(data: bytes, start: int) -> int | None:
    """Finds the first marker from a position on, in steps, because a regular expression holds the GIL."""
    for at in range(start, len(data) - 1, _SCAN_STEP):
        if found := _JPEG_MARKER.search(data, at, at + _SCAN_STEP + 1):
            return found[1][0]
    return None
