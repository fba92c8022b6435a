"""JPEG strips and tiles of TIFFs: refused where they lack data, read where they only look so."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_directory import needed_tags
from azaion_engine.pictures.bounds.tiff_pieces import Piece, pieces
from azaion_engine.pictures.encoded import EncodedPicture

SIDE = 160
PICTURE = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), (3, 3), 0)


def encoded(kind: str, picture: np.ndarray[Any, Any] = PICTURE) -> bytes:
    """Writes a TIFF of JPEGs: of `kind` strips, one, tiles, planes, grey or CMYK."""
    if kind in ("tiles", "planes"):
        memory = pytest.importorskip("rasterio.io").MemoryFile
        colour = {"interleave": "band"} if kind == "planes" else {"interleave": "pixel", "photometric": "YCBCR"}
        size = {"width": SIDE, "height": SIDE, "count": 3, "dtype": "uint8"}
        tile = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        with memory() as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it lies nowhere on the map
            with file.open(driver="GTiff", compress="JPEG", **size, **tile, **colour) as out:
                out.write(picture.transpose(2, 0, 1))
            return bytes(file.read())
    image = Image.fromarray(picture).convert({"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="jpeg", tiffinfo={tags.ROWS: SIDE if kind == "one" else 32})
    return buffer.getvalue()


def pieces_of(data: bytes) -> list[Piece]:
    return list(pieces(needed_tags(data, 10**8).layout))


KINDS = ["strips", "one", "tiles", "planes", "grey", "CMYK"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [0, -1])
@pytest.mark.parametrize("part", [0.3, 0.6])
def test_a_piece_whose_scan_is_cut_is_refused(kind: str, number: int, part: float) -> None:
    data = bytearray(encoded(kind))
    offset, length, *_ = pieces_of(bytes(data))[number]
    EncodedPicture(bytes(data)).decode()
    left = length - int(length * part)
    data[offset + length - left : offset + length] = (b"\xff\xd9" * length)[:left]
    with pytest.raises(UndecodablePictureError, match="data are missing"):
        EncodedPicture(bytes(data)).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_piece_that_was_not_written_to_its_end_is_refused(kind: str) -> None:
    data = bytearray(encoded(kind))
    offset, length, *_ = pieces_of(bytes(data))[0]
    data[offset + length // 2 : offset + length - 2] = bytes(length - length // 2 - 2)
    with pytest.raises(UndecodablePictureError, match="data are missing"):
        EncodedPicture(bytes(data)).decode()


@pytest.mark.parametrize("level", [0, 127, 128, 255])
@pytest.mark.parametrize("kind", KINDS)
def test_pieces_that_are_grey_or_flat_are_read(kind: str, level: int) -> None:
    flat = PICTURE.copy()
    flat[SIDE // 3 :] = level
    picture = EncodedPicture(encoded(kind, flat)).decode()
    with Image.open(io.BytesIO(encoded(kind, flat))) as image:
        np.testing.assert_array_equal(picture, np.asarray(image.convert("RGB")))


def test_a_piece_may_be_padded() -> None:
    whole = encoded("one")
    [(offset, length, *_)] = pieces_of(whole)
    padded = bytearray(whole + whole[offset : offset + length] + bytes(200))
    for old, new in ((offset, len(whole)), (length, length + 200)):
        at = whole.rfind(struct.pack("<I", old))
        struct.pack_into("<I", padded, at, new)
    np.testing.assert_array_equal(EncodedPicture(bytes(padded)).decode(), EncodedPicture(whole).decode())
