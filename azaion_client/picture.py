"""Picture: the accepted inputs, and how they become bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

Picture = bytes | str | os.PathLike[str] | BinaryIO
"""Encoded bytes (JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC, JPEG XL), the path of a picture file, or a file opened in
binary mode."""


def read_picture(picture: Picture) -> bytes:
    """Returns the encoded bytes; a file object is read from its current position and not closed.

    Raises:
        OSError: The file cannot be read.
        TypeError: Another type, or a file opened in text mode.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    data = picture.read() if hasattr(picture, "read") else None
    if not isinstance(data, bytes):
        raise TypeError(f"expected encoded bytes, a path or a file opened in binary mode, given {type(picture)}")
    return data
