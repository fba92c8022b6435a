"""PictureHeader: format, size and orientation of an encoded picture, read and checked before pixels are decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from azaion_engine.errors import (
    EmptyBodyError,
    PictureTooLargeError,
    UnsupportedPictureError,
)
from azaion_engine.pictures.bounds.decode_cost import webp_bytes
from azaion_engine.pictures.bounds.jpeg_segments import needed_segments
from azaion_engine.pictures.bounds.png_chunks import needed_chunks
from azaion_engine.pictures.bounds.tiff_directory import needed_tags
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout
from azaion_engine.pictures.bounds.tiff_pieces import check_filled
from azaion_engine.pictures.formats import ACCEPTED_FORMATS, describe_other, sniff
from azaion_engine.pictures.readers.base import PixelReader
from azaion_engine.pictures.readers.bmp_fields import BmpFields, is_bitfields
from azaion_engine.pictures.readers.failures import failed
from azaion_engine.pictures.readers.heif import HeifReader
from azaion_engine.pictures.readers.jpeg_xl import JpegXlReader
from azaion_engine.pictures.readers.tiff.choice import tiff_reader

# The plug-ins, not Image.open: it applies a process-wide pixel limit before our own, and also tries formats that
# are not accepted.
_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,  # a phone's MPO begins with a complete JPEG, its first frame
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
}

_EXIF_ORIENTATION = 0x0112
_MOST_EXIF_BYTES = 1 << 16
"""Bytes of an EXIF block that are read: as many as a JPEG's segment holds."""
_UNKNOWN_PIXELS = "unknown pixel mode"
"""Pillow's error message for a TIFF whose samples fit none of its modes."""

DEEP_GREY_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
"""Pillow's modes of grey pixels with more than 8 bits."""

_COLOUR_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


_MOST_READS = 1 << 18
"""Maximum reads of one file: three for each chunk or segment that `bounds` lets through, and some."""


class _BoundedFile(io.BytesIO):
    """File with a limit on reads: Pillow parses headers in Python, holding the GIL for long on many empty segments."""

    _left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError(f"it has more than the {_MOST_READS} pieces accepted")
        return super().read(size)


@dataclass(frozen=True)
class PictureLimits:
    """Maximum size of a picture.

    Attributes:
        max_bytes: Size of the encoded picture, in bytes.
        max_pixels: Width × height of the decoded picture.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class PictureHeader:
    """Header of a picture, known before its pixels are decoded.

    Attributes:
        format: One of `formats.ACCEPTED_FORMATS`.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        orientation: EXIF orientation 1…8; 1 (upright as stored) where absent or unreadable.
        mode: Pillow's mode of the stored pixels, e.g. `RGB`, `CMYK`, `I;16`.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str


class OpenedPicture(NamedTuple):
    """A picture as Pillow or a reader opened it.

    Attributes:
        image: As Pillow opened it, its pixels not decoded yet; None if a reader decodes it.
        header: Its checked header.
        data: What Pillow or the reader was given: the encoded picture without metadata.
        scan: Offset in `data` of a JPEG's first scan's marker; 0 for other formats.
        piece_bytes: Decoded bytes of a TIFF's largest strip or tile; 0 for other formats.
        reader: Decodes what Pillow's plug-in does not; else None.
        layout: How a TIFF's samples are stored; None for other formats.
    """

    image: ImageFile.ImageFile | None
    header: PictureHeader
    data: bytes
    scan: int = 0
    piece_bytes: int = 0
    reader: PixelReader | None = None
    layout: TiffLayout | None = None

    @property
    def pillow(self) -> ImageFile.ImageFile:
        """The image, where no reader decodes it."""
        assert self.image is not None
        return self.image


def open_picture(data: bytes, limits: PictureLimits) -> OpenedPicture:
    """Opens a picture with Pillow and checks its header; decodes no pixels.

    Pillow gets the picture without metadata, whose number and size would otherwise set the time that opening takes.

    Args:
        data: The encoded picture.
        limits: Maximum size.

    Raises:
        EmptyBodyError: `data` is empty.
        UnsupportedPictureError: Not a picture, or a format or variant that is not accepted.
        UndecodablePictureError: The header is damaged, or the picture has more pieces than `bounds` accepts.
        PictureTooLargeError: More bytes or pixels than `limits`.
        OutOfMemoryError: No memory was left.
    """
    name = check_format(data, limits)
    scan, piece_bytes, orientation, exif = 0, 0, 1, b""
    reader: PixelReader | None = None
    layout: TiffLayout | None = None
    if name == "JPEG":
        data, exif, scan = needed_segments(data)
    elif name == "PNG":
        data, exif = needed_chunks(data)
    elif name == "TIFF":
        directory = needed_tags(data, limits.max_pixels)
        layout = directory.layout
        check_pixels(layout.width, layout.height, limits)
        check_filled(data, layout)
        data, orientation, piece_bytes, _ = directory
        reader = tiff_reader(directory)
    elif name == "BMP" and is_bitfields(data):
        reader = BmpFields(data)
    elif name in ("AVIF", "HEIC", "JPEG XL"):
        reader, exif = _modern_reader(name, data, limits)
        orientation = _read_orientation(exif)
    if reader is not None:
        check_pixels(reader.width, reader.height, limits)
        header = PictureHeader(name, *_upright(reader.width, reader.height, orientation), orientation, reader.mode)
        return OpenedPicture(None, header, data, scan, piece_bytes, reader)
    try:
        image = _PLUGINS[name](_BoundedFile(data))
        width, height = image.size
        if name == "WebP" and image.size != webp_size(data):  # the size that was checked and charged
            raise ValueError("its headers give different sizes")
    except Exception as error:
        if str(error) == _UNKNOWN_PIXELS and layout is not None:  # an intact file, e.g. with colours of 2 bits
            raise UnsupportedPictureError(f"given a TIFF with {layout.describe()}, which is not accepted") from error
        if str(error).startswith("Unsupported BMP"):  # its header, its bits a pixel or its compression
            raise UnsupportedPictureError(f"given a BMP of an unusual kind: {error}") from error
        needed = webp_bytes(*webp_size(data), len(data)) if name == "WebP" else 2 * len(data)
        raise failed(name, error, needed) from error
    check_pixels(width, height, limits)
    _check_variant(image)
    if name != "TIFF":
        orientation = _read_orientation(exif or image.info.get("exif", b""))
    header = PictureHeader(name, *_upright(width, height, orientation), orientation, image.mode)
    return OpenedPicture(image, header, data, scan, piece_bytes, layout=layout)


def _modern_reader(name: str, data: bytes, limits: PictureLimits) -> tuple[PixelReader, bytes]:
    """Returns the reader of an AVIF, HEIC or JPEG XL, and the EXIF block whose orientation is not applied by it."""
    if name == "JPEG XL":
        return JpegXlReader(data), b""
    try:
        heif = HeifReader(name, data, limits.max_pixels)
    except (UnsupportedPictureError, PictureTooLargeError):
        raise
    except Exception as error:
        raise failed(name, error, 2 * len(data)) from error
    return heif, heif.exif


def _upright(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if orientation >= 5 else (width, height)


def check_format(data: bytes, limits: PictureLimits) -> str:
    """Returns the format of an encoded picture, after checking its bytes, and of a WebP the pixels of its canvas.

    Raises:
        EmptyBodyError: `data` is empty.
        UnsupportedPictureError: Not a picture, or a format that is not accepted.
        PictureTooLargeError: More bytes or pixels than `limits`.
    """
    if not data:
        raise EmptyBodyError("no bytes were sent where a picture was expected")
    check_bytes(data, limits)
    name = sniff(data)
    if name is None:
        raise UnsupportedPictureError(f"given {describe_other(data)}; accepted are {', '.join(ACCEPTED_FORMATS)}")
    if name == "WebP":
        # libwebp's animation decoder allocates the whole canvas on opening: check the size first.
        check_pixels(*webp_size(data), limits)
    return name


def check_bytes(data: bytes, limits: PictureLimits) -> None:
    """Refuses an encoded picture with too many bytes.

    Raises:
        PictureTooLargeError: The message states size and limit.
    """
    if len(data) > limits.max_bytes:
        raise PictureTooLargeError(f"the picture has {len(data)} bytes, at most {limits.max_bytes} are accepted")


def check_pixels(width: int, height: int, limits: PictureLimits) -> None:
    """Refuses a picture with too many pixels, likewise."""
    if width * height > limits.max_pixels:
        raise PictureTooLargeError(
            f"the picture has {width}×{height} = {width * height} pixels, at most {limits.max_pixels} are accepted"
        )


def _check_variant(image: ImageFile.ImageFile) -> None:
    if image.mode not in DEEP_GREY_MODES + _COLOUR_MODES:
        raise UnsupportedPictureError(f"given {image.mode} pixels; accepted are grey, palette, RGB and CMYK")
    if image.info.get("compression") in (1, 2) and isinstance(image, BmpImageFile):
        # Pillow unpacks these byte by byte in Python, holding the GIL for long; no camera writes them.
        raise UnsupportedPictureError("given a run-length encoded BMP; accepted are uncompressed ones")


def webp_size(data: bytes) -> tuple[int, int]:
    """Reads the canvas size of a WebP: RFC 9649, sections 2.5 to 2.7; (0, 0) if truncated."""
    if len(data) < 30:
        return 0, 0
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_orientation(block: bytes) -> int:
    if not block:
        return 1
    try:
        exif = Image.Exif()
        exif.load(block[:_MOST_EXIF_BYTES])
        value = exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken metadata do not make a picture unusable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
