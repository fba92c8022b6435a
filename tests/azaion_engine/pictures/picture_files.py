"""Picture files: written by Pillow or byte by byte, and the pixels that they hold."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 40), (30, 40, 210), (250, 250, 250)
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF"]
LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
RAMP = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (8, 1))


def corners(width: int = 48, height: int = 32) -> np.ndarray:
    """Makes a picture: top left red, top right green, bottom left blue, bottom right white."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = GREEN
    picture[height // 2 :, : width // 2] = BLUE
    picture[height // 2 :, width // 2 :] = WHITE
    return picture


def noise(width: int = 64, height: int = 48) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(picture: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    return data.tobytes()


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def raw_tiff(picture: np.ndarray, photometric: int, order: str = "<", sample_format: int = 1, **more: int) -> bytes:
    """Writes a minimal uncompressed one-strip TIFF of grey samples, by the TIFF 6.0 specification."""
    height, width = picture.shape
    body = picture.astype(picture.dtype.newbyteorder(order)).tobytes()
    tags = {
        256: width, 257: height, 258: picture.dtype.itemsize * 8, 259: 1, 262: photometric, 273: 0, 277: 1,
        278: height, 279: len(body), 339: sample_format, **{int(k[1:]): v for k, v in more.items()},
    }  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return start + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0) + body


# Colours stored top left, top right, bottom left and bottom right, by orientation, so that the upright picture is
# `corners()`. From the definition of EXIF tag 0x0112: "row 0 is the visual top, column 0 the visual left" and so on.
STORED = {
    1: (RED, GREEN, BLUE, WHITE),
    2: (GREEN, RED, WHITE, BLUE),
    3: (WHITE, BLUE, GREEN, RED),
    4: (BLUE, WHITE, RED, GREEN),
    5: (RED, BLUE, GREEN, WHITE),
    6: (GREEN, WHITE, RED, BLUE),
    7: (WHITE, GREEN, BLUE, RED),
    8: (BLUE, RED, WHITE, GREEN),
}


def stored(orientation: int, long_side: int = 48, short_side: int = 32) -> np.ndarray:
    width, height = (long_side, short_side) if orientation < 5 else (short_side, long_side)
    picture = np.zeros((height, width, 3), np.uint8)
    for colour, rows, columns in zip(STORED[orientation], (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        picture[rows * height // 2 :][: height // 2, columns * width // 2 :][:, : width // 2] = colour
    return picture


def close(picture: np.ndarray, expected: Any, tolerance: int = 12) -> bool:
    return bool((np.abs(picture.astype(int) - np.asarray(expected)) <= tolerance).all())
