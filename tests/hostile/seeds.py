"""Small valid pictures of every format, mode and compression that the service takes: what mutations start from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.azaion_engine.pictures.picture_files import RAMP, encode, exif, noise, raw_tiff

_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd")
_ROWS_PER_STRIP = 278


def seeds() -> dict[str, bytes]:
    """Returns the pictures by name."""
    return dict(_jpegs()) | dict(_pngs()) | dict(_tiffs()) | dict(_others())


def _jpegs() -> Iterator[tuple[str, bytes]]:
    colour = Image.fromarray(noise())
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            yield f"JPEG {mode} {progressive}", encode(colour.convert(mode), "JPEG", progressive=progressive)
    options: list[dict[str, Any]] = [
        {"exif": exif(6)},
        {"exif": exif(5), "progressive": True},
        {"subsampling": "4:1:1"},
        {"icc_profile": b"profile" * 20_000},
        {"comment": b"note" * 100},
        {"restart_marker_rows": 1},
    ]
    for chosen in options:
        yield f"JPEG {list(chosen)}", encode(colour, "JPEG", **chosen)
    yield "JPEG stored as RGB", encode(colour, "JPEG", keep_rgb=True)


def _pngs() -> Iterator[tuple[str, bytes]]:
    colour = Image.fromarray(noise())
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"PNG {mode}", encode(colour.convert(mode), "PNG")
    yield "PNG I;16", encode(Image.fromarray(RAMP), "PNG")
    sixteen = cv2.imencode(".png", noise().astype(np.uint16) * 257)[1]
    yield "PNG 16 bits", sixteen.tobytes()
    yield "PNG metadata", encode(colour, "PNG", exif=exif(7), icc_profile=b"profile" * 100, dpi=(72, 72))
    yield "PNG animated", encode(colour, "PNG", save_all=True, append_images=[colour.rotate(180)])
    yield "PNG palette, transparent", encode(colour.convert("P"), "PNG", transparency=bytes(range(256)))


def _tiffs() -> Iterator[tuple[str, bytes]]:
    colour = Image.fromarray(noise())
    for compression in _TIFF_COMPRESSIONS:
        for rows in (8, 48):
            more = {"compression": compression, "tiffinfo": {_ROWS_PER_STRIP: rows}}
            yield f"TIFF {compression} {rows}", encode(colour, "TIFF", **more)
    for mode in ("L", "P", "LA", "RGBA", "CMYK"):
        yield f"TIFF {mode}", encode(colour.convert(mode), "TIFF", compression="tiff_lzw")
    for fax in ("group3", "group4"):
        yield f"TIFF {fax}", encode(colour.convert("1"), "TIFF", compression=fax)
    yield "TIFF F", encode(Image.fromarray(noise()[..., 0].astype(np.float32)), "TIFF")
    yield "TIFF I", encode(Image.fromarray(noise()[..., 0].astype(np.int32)), "TIFF", compression="tiff_lzw")
    yield "TIFF 16 bits", raw_tiff(RAMP, photometric=1, order=">")
    yield "TIFF large", encode(colour, "TIFF", big_tiff=True)
    yield "TIFF pages", encode(colour, "TIFF", save_all=True, append_images=[colour])
    yield "TIFF turned", encode(colour, "TIFF", tiffinfo={274: 6})


def _others() -> Iterator[tuple[str, bytes]]:
    colour = Image.fromarray(noise())
    for options in ({}, {"lossless": True}, {"exif": exif(3)}, {"icc_profile": b"profile" * 50}):
        yield f"WebP {list(options)}", encode(colour, "WEBP", **options)
    yield "WebP alpha", encode(colour.convert("RGBA"), "WEBP", lossless=True)
    yield "WebP animated", encode(colour, "WEBP", save_all=True, append_images=[colour.rotate(180)])
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"BMP {mode}", encode(colour.convert(mode), "BMP")
