"""Image decoding and encoding: bytes as cameras and phones write them → an upright RGB picture, and back."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from azaion_engine.errors import (
    InvalidParameterError,
    InvalidTensorError,
    PictureError,
    PictureTooLargeError,
    UndecodablePictureError,
)
from azaion_engine.pictures.header import (
    DEEP_GREY_MODES,
    TIFF_BITS,
    PictureHeader,
    PictureLimits,
    check_bytes,
    check_pixels,
    open_picture,
    pillow_limit,
    read_header,
    undecodable,
)
from azaion_engine.pictures.jpeg_header import PlainJpeg, read_plain_jpeg

__all__ = [
    "PictureHeader",
    "PictureLimits",
    "decode",
    "encode_jpeg",
    "read_hardware_jpeg",
    "read_header",
]

_TIFF_PHOTOMETRIC = 262

_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""In entropy-coded JPEG data: no stuffed byte, restart or fill byte (ITU-T T.81, B.1.1)."""
_JPEG_END = 0xD9
_JPEG_END_MARKER = bytes((0xFF, _JPEG_END))
_SCAN_STEP = 128 * 1024
"""Bytes looked at together, in 0.04 ms; in 2 ms where somebody put 0xFF before every other byte."""
_STRIP_SAMPLES = 1 << 20
"""Deep grey samples converted together: 8 MiB of float64 a copy."""
_JPEG_MAX_SCANS = 100
"""Progressive files have about ten; each one more costs a pass over the whole picture, in few bytes."""
_JPEG_MAX_SIDE = 65500
_HARDWARE_SAMPLING = ((1, 1), (2, 1), (1, 2), (2, 2))
"""Luma samples per chroma sample across and down: 4:4:4, 4:2:2, 4:4:0, 4:2:0, as nvJPEG's hardware takes them."""


def decode(
    data: bytes,
    limits: PictureLimits = PictureLimits(),  # noqa: B008 (frozen)
    plain: PlainJpeg | None = None,
) -> NDArray[np.uint8]:
    """Decodes the first frame of a picture and turns it upright.

    Alpha is dropped, colours are used as stored (ICC profiles are ignored): that is what cv2.imread, and with it the
    data loader that detectors are trained with, does. Compositing on white would also blank the many BMP and TIFF files
    whose fourth channel is unused and zero.

    Args:
        data: The encoded picture: JPEG (MPO too), PNG, WebP, BMP or TIFF.
        limits: What is accepted at most; checked before any pixel is decoded.
        plain: What `read_plain_jpeg` says of `data`, where it has been asked already.

    Returns:
        uint8 `[height, width, 3]`, RGB, contiguous and writable.

    Raises:
        EmptyBodyError: `data` is empty.
        UnsupportedPictureError: Not a picture, or a format or variant that is not accepted.
        UndecodablePictureError: Damaged or truncated.
        PictureTooLargeError: More bytes or pixels than `limits`.
    """
    picture: NDArray[np.uint8] | None
    if (plain := plain or read_plain_jpeg(data)) is not None:
        _check_limits(plain, data, limits)
        picture = _decode_plain_jpeg(plain, data)
        if picture is not None:
            return picture
    image, header = open_picture(data, limits)
    try:
        picture = _decode_jpeg(image, data) if isinstance(image, JpegImageFile) else None
        if picture is None:
            image.load()
            picture = _to_rgb(image)
        # Pillow turns a TIFF upright while it loads it, and only a TIFF.
        return picture if header.format == "TIFF" else _turn_upright(picture, header.orientation)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise pillow_limit(header.width, header.height, error) from error
    except Exception as error:  # Pillow's plug-ins raise about everything on damaged files: see the tests
        raise undecodable(header.format, error) from error


def read_hardware_jpeg(data: bytes, limits: PictureLimits = PictureLimits()) -> PictureHeader | None:  # noqa: B008
    """Reads the header of a JPEG that decoding hardware turns into the same picture as `decode` does.

    Args:
        data: The encoded picture.
        limits: What is accepted at most.

    Returns:
        Its header; None for every other picture: progressive, CMYK or RGB inside, of odd subsampling, of several scans,
        truncated, or no JPEG at all.

    Raises:
        PictureError: As `read_header`.
    """
    if (plain := read_plain_jpeg(data)) is not None:
        _check_limits(plain, data, limits)
        header = PictureHeader("JPEG", plain.width, plain.height, 1, plain.mode)
        # One scan, and a whole one: that shows at a JPEG's two ends. To look for markers inside takes ten times as long
        # as all the rest, and tells only of such damage as made one.
        whole = (plain.scans_all and data.endswith(_JPEG_END_MARKER)) or _ends_with_its_scan(data, plain.scan)
        return header if whole and _is_for_hardware(plain.components) else None
    image, header = open_picture(data, limits)
    if not isinstance(image, JpegImageFile) or image.info.get("progressive") or not _is_whole_single_scan(image, data):
        return None
    components = tuple(component[:3] for component in image.layer)
    ycc = len(components) == 1 or image.info.get("adobe_transform", 1) == 1
    return header if ycc and _is_for_hardware(components) else None


def _check_limits(plain: PlainJpeg, data: bytes, limits: PictureLimits) -> None:
    check_bytes(data, limits)
    check_pixels(plain.width, plain.height, limits)


def _is_for_hardware(components: tuple[tuple[int, int, int], ...]) -> bool:
    if len(components) != 3:
        return len(components) == 1
    # Without Adobe's marker three components are YCbCr, unless they call themselves RGB (libjpeg, jdapimin.c).
    (_, *luma), *chroma = components
    rgb = bytes(component[0] for component in components) == b"RGB"
    return not rgb and tuple(luma) in _HARDWARE_SAMPLING and all(c[1:] == (1, 1) for c in chroma)


def encode_jpeg(picture: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encodes a picture as a baseline JPEG.

    Args:
        picture: uint8 `[height, width, 3]`, RGB.
        quality: 1…100, libjpeg's scale.

    Raises:
        InvalidTensorError: The array is not of that kind.
        InvalidParameterError: `quality` is outside its range.
        PictureTooLargeError: A side is longer than a JPEG can hold.
    """
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise InvalidTensorError(f"expected uint8 [height, width, 3], given {picture.dtype} {list(picture.shape)}")
    if not 1 <= quality <= 100:
        raise InvalidParameterError(f"quality must be 1…100, given {quality}")
    if max(picture.shape) > _JPEG_MAX_SIDE:
        raise PictureTooLargeError(
            f"a JPEG holds at most {_JPEG_MAX_SIDE} pixels a side, given {picture.shape[1]}×{picture.shape[0]}"
        )
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    encoded: NDArray[np.uint8] = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return encoded.tobytes()


def _decode_jpeg(image: JpegImageFile, data: bytes) -> NDArray[np.uint8] | None:
    """Decodes a plain JPEG; None leaves an unusual one to Pillow.

    Raises:
        UndecodablePictureError: So many scans that decoding would take minutes.
    """
    if _is_whole_single_scan(image, data):  # whatever stands behind it, as a phone's moving picture may
        return _decode_by_opencv(image.width, image.height, data)
    # FF DA cannot occur inside compressed data. A few more come with thumbnails and further frames.
    scans = data.count(b"\xff\xda")
    if scans > _JPEG_MAX_SCANS:
        raise UndecodablePictureError(f"the JPEG has {scans} scans, at most {_JPEG_MAX_SCANS} are accepted")
    return None


def _decode_plain_jpeg(plain: PlainJpeg, data: bytes) -> NDArray[np.uint8] | None:
    return _decode_by_opencv(plain.width, plain.height, data) if _ends_with_its_scan(data, plain.scan) else None


def _decode_by_opencv(width: int, height: int, data: bytes) -> NDArray[np.uint8] | None:
    """Decodes the most frequent kind of picture at twice Pillow's speed, to exactly the same pixels.

    Both use libjpeg-turbo, but Pillow keeps four bytes a pixel and repacks them under the GIL. OpenCV hides truncation
    and damaged markers, so only an 8-bit grey or YCbCr JPEG with a single scan that runs to its end marker is left to
    it; for everything else, and wherever OpenCV gives up, this returns None and Pillow has the last word.
    """
    # IMREAD_COLOR_RGB came with OpenCV 4.11.
    rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)
    flags = (cv2.IMREAD_COLOR if rgb is None else rgb) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if picture is None or picture.shape != (height, width, 3):
        return None
    return picture if rgb is not None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)


def _is_whole_single_scan(image: JpegImageFile, data: bytes) -> bool:
    """Whether it is an 8-bit grey or YCbCr JPEG with a single scan that runs to its end marker."""
    assert image.fp is not None
    # Pillow stopped at the first byte of the first scan.
    return image.mode in ("L", "RGB") and _ends_with_its_scan(data, image.fp.tell())


def _ends_with_its_scan(data: bytes, start: int) -> bool:
    return _first_marker(data, start) == _JPEG_END


def _first_marker(data: bytes, start: int) -> int | None:
    """Finds the first marker from a position on, in steps, because a regular expression holds the GIL."""
    for at in range(start, len(data) - 1, _SCAN_STEP):
        if found := _JPEG_MARKER.search(data, at, at + _SCAN_STEP + 1):
            return found[1][0]
    return None


def _to_rgb(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    if image.mode in DEEP_GREY_MODES:
        grey: NDArray[np.uint8] = cv2.cvtColor(_deep_grey_to_8_bit(image), cv2.COLOR_GRAY2RGB)
        return grey
    image.info.pop("transparency", None)  # dropped as any alpha; kept, some conversions warn about it
    opaque = image.convert("LA") if image.mode == "La" else image
    return np.array(opaque if opaque.mode == "RGB" else opaque.convert("RGB"))


def _deep_grey_to_8_bit(image: ImageFile.ImageFile) -> NDArray[np.uint8]:
    # Image.convert would clip these at 255: nearly every picture would come out white.
    samples: NDArray[Any] = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16") or isinstance(image, PngImageFile):
        # The high byte, as Pillow takes it of 16-bit colour: both variants of one picture come out alike.
        grey = (samples >> (4 if tags.get(TIFF_BITS) == (12,) else 8)).astype(np.uint8)
    else:
        # TIFF with float, signed or 32-bit samples: a camera's float is 0…1, everything else has no defined white
        # and is stretched from its darkest to its brightest sample.
        # In strips, twice: float64 of all of a large picture at once, a few times over, would take gigabytes.
        step = max(1, _STRIP_SAMPLES // samples.shape[1])
        strips = [slice(top, top + step) for top in range(0, samples.shape[0], step)]
        lows, highs = zip(
            *((values.min(), values.max()) for values in (_finite(samples[s]) for s in strips)), strict=True
        )
        low, high = float(min(lows)), float(max(highs))
        if image.mode == "F" and low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        grey = np.empty(samples.shape, np.uint8)
        for strip in strips:
            grey[strip] = np.rint((_finite(samples[strip]) - low) * (255 / max(high - low, 1e-300)))
    # WhiteIsZero: Pillow inverts it up to 8 bits only.
    return np.bitwise_not(grey) if tags.get(_TIFF_PHOTOMETRIC) == 0 else grey


def _finite(samples: NDArray[Any]) -> NDArray[np.float64]:
    return np.nan_to_num(samples.astype(np.float64), posinf=0.0, neginf=0.0)


def _turn_upright(picture: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undoes an EXIF orientation 1…8 (EXIF 2.32, tag 0x0112)."""
    if orientation in (5, 7):
        picture = cv2.transpose(picture)
    turns = {3: cv2.ROTATE_180, 6: cv2.ROTATE_90_CLOCKWISE, 7: cv2.ROTATE_180, 8: cv2.ROTATE_90_COUNTERCLOCKWISE}
    if orientation in turns:
        picture = cv2.rotate(picture, turns[orientation])
    elif orientation in (2, 4):
        picture = cv2.flip(picture, 1 if orientation == 2 else 0)
    return picture
