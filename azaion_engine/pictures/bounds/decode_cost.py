"""Decode cost: how much memory a decode takes at most, known before its pixels are decoded.

The figures were measured as peaks of the resident memory of processes that decode one picture
(`tests/hostile/test_memory.py` measures them again), and hold from one pixel wide to one pixel high.
"""

from __future__ import annotations

_RESULT = 3
"""Bytes a pixel of the result: uint8 RGB."""
_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes a pixel that Pillow stores, by mode; any other mode: 4."""
_BANDS = {"L": 1, "RGB": 3, "YCbCr": 3, "CMYK": 4}
_OPENCV = 7
"""Bytes a pixel that OpenCV takes for a JPEG with a single scan, the result included: 6, and Pillow if it fails: 7."""
_WEBP = 20
"""Bytes a pixel: two RGBA canvases of libwebp's animation decoder, its lossless planes, Pillow's pixels, the result."""
_DEEP_COLOUR = 20
"""Bytes a pixel of a PNG with colours of 16 bits: Pillow's 4, and twice OpenCV's four samples."""
_LINE = 40
"""Bytes a row and a column: Pillow's pointers to rows, and its buffers of one row."""
_FIXED = 8 * 2**20
"""Bytes whatever the size: strips of pixels being converted, tables, the letterboxed picture of a usual network."""
_DEEP_STRIPS = 16 * 2**20
"""Bytes of the strips in which grey samples of more than 8 bits are scaled."""


def fast_jpeg_bytes(width: int, height: int) -> int:
    """Returns the bytes that OpenCV takes for a JPEG with a single scan, even if it is then turned upright.

    Args:
        width: In pixels.
        height: In pixels.
    """
    return width * height * _OPENCV + (width + height) * _LINE + _FIXED


def webp_bytes(width: int, height: int, encoded: int) -> int:
    """Returns the bytes that a WebP takes.

    Args:
        width: Of the canvas, in pixels.
        height: Of the canvas, in pixels.
        encoded: Bytes of the encoded picture.
    """
    return width * height * _WEBP + (width + height) * _LINE + 2 * encoded + _FIXED


def pillow_bytes(
    width: int,
    height: int,
    mode: str,
    encoded: int,
    *,
    turned: bool = False,
    coefficients: bool = False,
    piece_bytes: int = 0,
) -> int:
    """Returns the bytes that Pillow takes for a JPEG, PNG, BMP or TIFF, the conversion to RGB included.

    Args:
        width: In pixels.
        height: In pixels.
        mode: Pillow's mode of the stored pixels; `RGB;16` for a PNG of 16 bits with colours or alpha.
        encoded: Bytes of the encoded picture, which is copied.
        turned: Whether the picture is then turned upright.
        coefficients: Whether it is a JPEG of several scans, whose coefficients are all kept: 2 bytes each.
        piece_bytes: Decoded bytes of a TIFF's largest strip or tile, of which libtiff and Pillow keep one each.
    """
    stored = _STORED.get(mode, 4)
    deep = mode.startswith("I") or mode in ("F", "RGB;16")
    # The most is taken while a cut scan is looked for: the result, another decode's and its copy.
    decoding = 3 * _RESULT + 2 * _BANDS.get(mode, 4) if coefficients else stored
    converting = _DEEP_COLOUR if mode == "RGB;16" else stored + _RESULT + deep
    pixel = max(decoding, converting, 2 * _RESULT if turned else 0)
    fixed = _FIXED + (_DEEP_STRIPS if deep else 0)
    return width * height * pixel + (width + height) * _LINE + encoded + 2 * piece_bytes + fixed


def reader_bytes(
    width: int, height: int, pixel_bytes: int, encoded: int, *, turned: bool = False, piece_bytes: int = 0
) -> int:
    """Returns the bytes that a `readers.base.PixelReader` takes.

    Args:
        width: In pixels.
        height: In pixels.
        pixel_bytes: Bytes a pixel that the reader takes, the result included.
        encoded: Bytes of the encoded picture, which readers copy up to twice.
        turned: Whether the picture is then turned upright.
        piece_bytes: Decoded bytes of a TIFF's largest strip or tile, of which libtiff and Pillow keep one each.
    """
    pixel = max(pixel_bytes, 2 * _RESULT if turned else 0)
    return width * height * pixel + (width + height) * _LINE + 2 * encoded + 2 * piece_bytes + _FIXED + _DEEP_STRIPS
