"""Checksums of a TIFF's Deflate data: libtiff does not reach those behind data that inflate to too much."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout
from azaion_engine.pictures.bounds.tiff_pieces import Piece, pieces
from azaion_engine.pictures.readers.tiff.predictors import HORIZONTAL

_DEFLATE = frozenset((8, 32946))
_SUM_BYTES = 4
"""Adler-32 of what is compressed, behind the data (RFC 1950, 2.2)."""
_STEP = 1 << 20
"""Bytes inflated at a time."""
_PART_PIXELS = 1 << 16
"""Pixels whose checksum is made at a time."""


def check_picture(image: Image.Image, picture: NDArray[np.uint8], data: bytes, layout: TiffLayout) -> None:
    """Refuses a picture of 8 bits a sample that Pillow has decoded, as `check_sums` does; leaves out other bits.

    Args:
        image: The loaded picture, in the file's own mode.
        picture: uint8 `[height, width, 3]`, made of it.
        data: The file.
        layout: Its layout.

    Raises:
        UndecodablePictureError: A checksum is wrong.
    """
    if set(layout.bits) != {8} or len(image.getbands()) != layout.samples:
        return

    def stored(piece: Piece) -> NDArray[np.uint8]:
        samples = _cut(image, piece) if image.mode != "RGB" else picture[piece.place]
        return samples[..., piece.plane, None] if layout.is_separate else samples

    check_sums(stored, data, layout)


def check_bytes(image: Image.Image, data: bytes, layout: TiffLayout) -> None:
    """Refuses pieces that Pillow has only decompressed, to grey pixels, as `check_sums` does.

    Args:
        image: The loaded picture.
        data: The file.
        layout: By which Pillow read it.

    Raises:
        UndecodablePictureError: A checksum is wrong.
    """
    check_sums(lambda piece: _cut(image, piece), data, layout)


def check_sums(stored: Callable[[Piece], NDArray[np.uint8]], data: bytes, layout: TiffLayout) -> None:
    """Refuses a picture whose Deflate data are damaged.

    Compares the checksum of the pixels, which takes a twentieth of the time of decoding them, and inflates once more,
    into nothing, only where it is another one: bytes may follow the data, and pixels be changed on loading.

    Args:
        stored: Returns the samples of a piece, uint8 `[rows, columns, samples]`, those in the picture at least.
        data: The file.
        layout: Its layout; with another compression than Deflate there is nothing to check.

    Raises:
        UndecodablePictureError: A checksum is wrong.
    """
    if layout.one(tags.COMPRESSION, 1) not in _DEFLATE:
        return
    differences = layout.one(tags.PREDICTOR, 1) == HORIZONTAL
    for piece in pieces(layout):
        checksum, size = 1, 0
        for part in _parts(piece):
            samples = _stored(stored(part), part, differences)
            checksum, size = zlib.adler32(samples.data, checksum), size + samples.size
        end = piece.offset + piece.length
        expected = int.from_bytes(data[end - _SUM_BYTES : end], "big")
        if checksum != expected and not _inflates(data[piece.offset : end], size):
            raise tags.damaged("a checksum of its compressed data is wrong or missing")


def _parts(piece: Piece) -> Iterator[Piece]:
    """Yields some rows of a piece at a time: copies of a large one would take as much as the picture."""
    step = max(1, _PART_PIXELS // piece.columns)
    for top in range(piece.top, piece.top + piece.rows, step):
        yield piece._replace(top=top, rows=min(step, piece.top + piece.rows - top))


def _stored(samples: NDArray[np.uint8], part: Piece, differences: bool) -> NDArray[np.uint8]:
    """Returns samples as they were compressed, contiguous."""
    rows, columns, count = samples.shape
    if (rows, columns) != (part.rows, part.columns):  # a tile that reaches beyond: writers fill it with zeros
        filled = np.zeros((part.rows, part.columns, count), np.uint8)
        filled[:rows, :columns] = samples
        samples = filled
    if not differences:
        return np.ascontiguousarray(samples)
    differing: NDArray[np.uint8] = samples.copy()
    differing[:, 1:] -= samples[:, :-1]
    return differing


def _cut(image: Image.Image, piece: Piece) -> NDArray[np.uint8]:
    box = (piece.left, piece.top, piece.left + piece.columns, piece.top + piece.rows)
    samples: NDArray[np.uint8] = np.asarray(image.crop(box))
    return samples.reshape(piece.rows, piece.columns, -1)


def _inflates(compressed: bytes, size: int) -> bool:
    """Returns whether data inflate to their end without an error, or to twice the bytes that are needed."""
    inflater = zlib.decompressobj()
    left = 2 * size
    try:
        while compressed and left and not inflater.eof:
            left -= len(inflater.decompress(compressed, min(left, _STEP)))
            compressed = inflater.unconsumed_tail
    except zlib.error:
        return False
    return inflater.eof or not left
