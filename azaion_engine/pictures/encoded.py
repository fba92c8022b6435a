"""EncodedPicture: an encoded picture; reads its header once and decodes its pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from azaion_engine.errors import AzaionError
from azaion_engine.pictures.bounds.decode_cost import fast_jpeg_bytes, pillow_bytes, reader_bytes, webp_bytes
from azaion_engine.pictures.bounds.jpeg_segments import check_scans, next_marker
from azaion_engine.pictures.formats import sniff
from azaion_engine.pictures.header import (
    OpenedPicture,
    PictureHeader,
    PictureLimits,
    check_bytes,
    check_format,
    check_pixels,
    failed,
    open_picture,
    webp_size,
)
from azaion_engine.pictures.jpeg_header import JpegHeader, read_jpeg_header
from azaion_engine.pictures.pixels import is_deep_colour, to_rgb, turn_upright

_JPEG_END = 0xD9
_JPEG_END_MARKER = bytes((0xFF, _JPEG_END))


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
        self._opened: OpenedPicture | None = None
        self._looked = False
        self._jpeg: JpegHeader | None = None
        self._single: bool | None = None

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
        return self._open().header

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
            return header if whole or self._is_single_scan() else None
        opened = self._open()
        image, header = opened.image, opened.header
        if not isinstance(image, JpegImageFile) or not self._is_single_scan():
            return None
        # Pillow decides, as it does for `decode`: our own reader may have been misled by what it does not know.
        is_ycc = len(image.layer) == 1 or image.info.get("adobe_transform", 1) == 1
        same = tuple(component[:3] for component in image.layer) == jpeg.components
        if not is_ycc or not same or image.info.get("progressive"):
            return None
        self._opened = None  # its metadata must not live as long as this picture waits for the engine
        return header

    def decoding_bytes(self) -> int:
        """Returns how much memory `decode` takes at most besides the encoded picture, in bytes; decodes no pixel.

        Raises:
            PictureError: As `read_header`.
        """
        jpeg = self.jpeg
        if jpeg is not None and jpeg.plain and self._is_single_scan():
            return fast_jpeg_bytes(jpeg.width, jpeg.height)
        if sniff(self.data) == "WebP":
            check_format(self.data, self.limits)
            return webp_bytes(*webp_size(self.data), len(self.data))
        opened = self._open()
        header = opened.header
        if opened.reader is not None:
            return reader_bytes(
                header.width,
                header.height,
                opened.reader.pixel_bytes(),
                len(opened.data),
                turned=header.orientation != 1,
                piece_bytes=opened.piece_bytes,
            )
        assert opened.image is not None
        if self._is_single_scan():
            return fast_jpeg_bytes(header.width, header.height) + len(opened.data)
        return pillow_bytes(
            *opened.image.size,
            "RGB;16" if is_deep_colour(opened.data) else header.mode,
            len(opened.data),
            turned=header.orientation != 1,
            coefficients=header.format == "JPEG",
            piece_bytes=opened.piece_bytes,
        )

    def forget(self) -> None:
        """Frees the opened header, which may keep a copy of the file; whoever needs it next opens it anew."""
        self._opened = None

    def decode(self) -> NDArray[np.uint8]:
        """Decodes the first frame and turns it upright.

        Alpha is dropped and ICC profiles are ignored, as in cv2.imread and hence in the data loaders that detectors are
        trained with. Compositing on white would also blank the many BMP and TIFF files whose fourth channel is unused
        and zero.

        Returns:
            uint8 `[height, width, 3]`, RGB, contiguous and writable.

        Raises:
            PictureError: As `read_header`; UndecodablePictureError also where the pixels are damaged or truncated.
            OutOfMemoryError: No memory was left.
        """
        picture: NDArray[np.uint8] | None
        jpeg = self.jpeg
        if jpeg is not None and jpeg.plain:
            self.read_header()  # checks the limits
            if self._is_single_scan():
                picture = _decode_by_opencv(self.data, jpeg.width, jpeg.height)
                if picture is not None:
                    return picture
        needed = self.decoding_bytes()
        opened = self._open()
        self._opened = None  # free Pillow's pixels early: this picture may wait long for the engine
        header = opened.header
        try:
            if opened.reader is not None:
                picture = opened.reader.read()
            else:
                picture = self._decode_jpeg(opened) if header.format == "JPEG" else None
                if picture is None:
                    assert opened.image is not None
                    opened.image.load()
                    picture = to_rgb(opened.image, opened.data)
            del opened  # its pixels, before turning the picture takes a copy
            return turn_upright(picture, header.orientation)
        except AzaionError:
            raise
        except Exception as error:  # Pillow's plug-ins raise many types on damaged files: see the tests
            raise failed(header.format, error, needed) from error

    def _open(self) -> OpenedPicture:
        if self._opened is None:
            self._opened = open_picture(self.data, self.limits)
        return self._opened

    def _is_single_scan(self) -> bool:
        """Returns whether it is an 8-bit grey or YCbCr JPEG with a single scan that runs to its end marker."""
        if self._single is None:
            if self.jpeg is not None and self.jpeg.plain:
                self._single = _runs_to_end(self.data, self.jpeg.scan)
            else:
                opened = self._open()
                image = opened.image
                self._single = (
                    isinstance(image, JpegImageFile)
                    and image.mode in ("L", "RGB")
                    and image.fp is not None
                    # Pillow stopped at the first byte of the first scan.
                    and _runs_to_end(opened.data, image.fp.tell())
                )
        return self._single

    def _decode_jpeg(self, opened: OpenedPicture) -> NDArray[np.uint8] | None:
        """Decodes a JPEG with a single scan; returns None for any other, which Pillow then decodes.

        Raises:
            UndecodablePictureError: More than `MOST_SCANS` scans, which would take too long to decode.
        """
        if opened.image is not None and self._is_single_scan():  # even if data follow it, e.g. a phone's motion photo
            return _decode_by_opencv(opened.data, *opened.image.size)
        check_scans(opened.data, opened.scan)
        return None


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
        picture: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise failed("JPEG", MemoryError(), 0) from error
        return None
    if picture is None or picture.shape != (height, width, 3):
        return None
    return picture if rgb is not None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)


def _runs_to_end(data: bytes, start: int) -> bool:
    """Returns whether the scan that begins at a position runs to the end marker."""
    found = next_marker(data, start)
    return found is not None and found[1] == _JPEG_END
