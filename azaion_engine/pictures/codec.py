"""Codec: decodes the formats of cameras and phones to upright RGB pictures, and encodes JPEGs."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidParameterError, InvalidTensorError, PictureTooLargeError
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureHeader, PictureLimits

_JPEG_MAX_SIDE = 65500


def decode(data: bytes, limits: PictureLimits = PictureLimits()) -> NDArray[np.uint8]:  # noqa: B008 (frozen)
    """Decodes the first frame of a picture and turns it upright.

    Args:
        data: The encoded picture: of a format of `ACCEPTED_FORMATS`, an MPO too.
        limits: Maximum size; checked before any pixel is decoded.

    Returns:
        uint8 `[height, width, 3]`, RGB, contiguous and writable.

    Raises:
        PictureError: As `EncodedPicture.decode`.
    """
    return EncodedPicture(data, limits).decode()


def read_header(data: bytes, limits: PictureLimits = PictureLimits()) -> PictureHeader:  # noqa: B008 (frozen)
    """Reads size and orientation without decoding a pixel.

    Args:
        data: The encoded picture.
        limits: Maximum size.

    Raises:
        PictureError: As `EncodedPicture.read_header`.
    """
    return EncodedPicture(data, limits).read_header()


def encode_jpeg(picture: NDArray[np.uint8], quality: int = 90) -> bytes:
    """Encodes a picture as a baseline JPEG.

    Args:
        picture: uint8 `[height, width, 3]`, RGB.
        quality: 1…100, libjpeg's scale.

    Raises:
        InvalidTensorError: The array has another dtype or shape.
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
