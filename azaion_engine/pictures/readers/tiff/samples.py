"""TiffSamples: reads the samples of a TIFF at full depth, whatever number, type and order of bytes they have.

Pillow and OpenCV know some dozens of combinations each. Here a new directory calls the same strips or tiles a grey
picture of 8 bits, as wide as a row has bytes: Pillow's libtiff only decompresses, and bytes become numbers here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_layout import TiffLayout
from azaion_engine.pictures.bounds.tiff_rewriting import with_new_directory
from azaion_engine.pictures.readers.base import PixelReader
from azaion_engine.pictures.readers.stretch import to_8_bits
from azaion_engine.pictures.readers.tiff.checksums import check_bytes
from azaion_engine.pictures.readers.tiff.predictors import FLOATING, HORIZONTAL, add_differences, join_float_bytes

_STRIP_SAMPLES = 1 << 18
"""Samples converted at a time, so that intermediate copies stay small."""
_LETTERS = {tags.UNSIGNED: "u", tags.SIGNED: "i", tags.FLOAT: "f", tags.VOID: "u"}
_RGB = 3


class TiffSamples(PixelReader):
    """Samples of the first image of a TIFF, grey or RGB.

    Attributes:
        layout: How the samples are stored.
    """

    def __init__(self, data: bytes, layout: TiffLayout) -> None:
        """Checks the layout; decodes nothing.

        Args:
            data: The file.
            layout: Its layout, of which `is_deep` holds.

        Raises:
            UnsupportedPictureError: The tags do not tell which samples are red, green and blue.
            UndecodablePictureError: Strips or tiles are missing.
        """
        if layout.bands is None:
            raise UnsupportedPictureError(
                f"given a TIFF with {layout.samples} bands, none of which is tagged as red, green or blue; "
                "accepted are one to four, or RGB with more behind it"
            )
        self.layout, self._data = layout, data
        self.width, self.height = layout.width, layout.height
        self._bits = layout.bits[0]
        self._planes = layout.planes
        self._pixel = layout.samples // self._planes  # samples of a pixel in one plane
        tiled = layout.one(tags.TILE_WIDTH, 0) > 0 and layout.one(tags.TILE_HEIGHT, 0) > 0
        self._piece = (layout.one(tags.TILE_WIDTH, 0), layout.one(tags.TILE_HEIGHT, 0)) if tiled else None
        if self.width <= 0 or self.height <= 0:
            raise UndecodablePictureError("the TIFF is damaged or truncated: it has no size")
        width, rows = self._piece or (self.width, min(layout.one(tags.ROWS, self.height) or self.height, self.height))
        self._across = -(-self.width // width)
        self._piece_width, self._rows = width, rows
        self._row_bytes = -(-width * self._pixel * self._bits // 8)
        offsets = layout.values.get(tags.TILE_OFFSETS if tiled else tags.STRIP_OFFSETS, ())
        lengths = layout.values.get(tags.TILE_BYTES if tiled else tags.STRIP_BYTES, ())
        self._count = self._across * -(-self.height // rows)
        if not lengths and self._count == 1 and layout.one(tags.COMPRESSION, 1) == 1:
            lengths = (self._row_bytes * self.height,) * len(offsets)
        if min(len(offsets), len(lengths)) < self._count * self._planes:
            raise UndecodablePictureError("the TIFF is damaged or truncated: strips or tiles are missing")
        self._offsets, self._lengths = offsets, lengths
        if len(layout.bands) == _RGB:
            self.mode = f"RGB;{self._bits}"
        elif layout.kinds[0] == tags.FLOAT:
            self.mode = "F"
        else:
            self.mode = "I;16" if self._bits <= 16 and layout.kinds[0] != tags.SIGNED else "I"

    def pixel_bytes(self) -> int:
        """Returns what Pillow decompresses, the samples and, once Pillow's pixels are freed, the 8 bits of these."""
        stored = -(-self._pixel * self._bits // 8)
        samples = len(self.layout.bands or ()) * self._dtype(native=True).itemsize
        return samples + max(stored, 2 * _RGB)

    def read(self) -> NDArray[np.uint8]:
        """Decompresses the picture and makes 8 bits of it, as `readers.stretch` does."""
        layout = self.layout
        white = (1 << self._bits) - 1 if layout.kinds[0] != tags.SIGNED and self._bits <= 16 else None
        white = None if layout.kinds[0] == tags.FLOAT else white
        inverted = layout.photometric == tags.WHITE_IS_ZERO
        grey = to_8_bits(self.read_samples(), white, layout.nodata, inverted)
        return grey if grey.ndim == 3 else np.repeat(grey[..., None], _RGB, axis=2)

    def read_samples(self) -> NDArray[Any]:
        """Decompresses the picture.

        Returns:
            Grey `[height, width]` or RGB `[height, width, 3]`, of the type of the samples; those of 9 to 15 bits are
            uint16.

        Raises:
            Exception: Of any type, on damaged files, as Pillow's decoders.
        """
        bands = self.layout.bands or ()
        samples = np.empty((self.height, self.width, len(bands)), self._dtype(native=True))
        for plane in range(self._planes):
            if self._planes > 1 and plane not in bands:
                continue
            for top, rows in self._rows_of(plane):
                if self._planes > 1:
                    samples[top : top + len(rows), :, bands.index(plane)] = rows[..., 0]
                else:
                    samples[top : top + len(rows)] = rows[..., bands[0] : bands[-1] + 1]
        return samples[..., 0] if len(bands) == 1 else samples

    def _rows_of(self, plane: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yields (first row, samples `[rows, width, samples of a pixel]`) of a plane."""
        entries = self._as_bytes(plane)
        image = TiffImageFile(io.BytesIO(with_new_directory(self._data, entries)))
        image.load()
        check_bytes(image, self._data, TiffLayout(entries, big_endian=False, nodata=None))
        width = self._across * self._row_bytes
        step = max(1, _STRIP_SAMPLES // width)
        for top in range(0, self.height, step):
            rows = np.asarray(image.crop((0, top, width, min(top + step, self.height))))
            pieces = rows.reshape(len(rows), self._across, self._row_bytes)
            numbers = self._numbers(pieces).reshape(len(rows), -1, self._pixel)
            yield top, numbers[:, : self.width]

    def _as_bytes(self, plane: int) -> dict[int, tuple[int, ...]]:
        """Returns the entries of a directory that calls a plane's rows grey pixels of 8 bits."""
        keep = slice(plane * self._count, (plane + 1) * self._count)
        entries: dict[int, tuple[int, ...]] = {
            tags.WIDTH: (self._across * self._row_bytes,),
            tags.HEIGHT: (self.height,),
            tags.BITS: (8,),
            tags.COMPRESSION: (self.layout.one(tags.COMPRESSION, 1),),
            tags.PHOTOMETRIC: (tags.BLACK_IS_ZERO,),
            tags.FILL_ORDER: (self.layout.one(tags.FILL_ORDER, 1),),
            tags.SAMPLES: (1,),
        }
        if self._piece:
            entries[tags.TILE_WIDTH], entries[tags.TILE_HEIGHT] = (self._row_bytes,), (self._rows,)
            entries[tags.TILE_OFFSETS], entries[tags.TILE_BYTES] = self._offsets[keep], self._lengths[keep]
        else:
            entries[tags.ROWS] = (self._rows,)
            entries[tags.STRIP_OFFSETS], entries[tags.STRIP_BYTES] = self._offsets[keep], self._lengths[keep]
        return entries

    def _dtype(self, native: bool = False) -> np.dtype[Any]:
        size = 2 if 8 < self._bits < 16 else self._bits // 8
        order = "=" if native else (">" if self.layout.big_endian else "<")
        return np.dtype(f"{order}{_LETTERS[self.layout.kinds[0]]}{size}")

    def _numbers(self, pieces: NDArray[np.uint8]) -> NDArray[Any]:
        """Converts bytes `[rows, pieces across, bytes of a piece's row]` to `[…, samples of it]`."""
        predictor = self.layout.one(tags.PREDICTOR, 1) if self.layout.one(tags.COMPRESSION, 1) != 1 else 1
        if 8 < self._bits < 16:
            return self._unpacked(pieces)
        stored, native = self._dtype(), self._dtype(native=True)
        if predictor == FLOATING:
            joined = join_float_bytes(pieces, self._pixel, native.itemsize)
            floats: NDArray[Any] = joined.view(native.newbyteorder(">")).astype(native)
            return floats
        if predictor == HORIZONTAL:
            unsigned = pieces.view(stored.str.replace("i", "u").replace("f", "u"))
            native_unsigned = unsigned.astype(unsigned.dtype.newbyteorder("="))
            added = add_differences(native_unsigned.reshape(*pieces.shape[:2], -1, self._pixel))
            return added.reshape(*pieces.shape[:2], -1).view(native)
        return pieces.view(stored).astype(native)

    def _unpacked(self, pieces: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Joins the bits of packed samples, most significant first (TIFF 6.0, section 2, FillOrder)."""
        bits = np.unpackbits(pieces, axis=-1)[..., : self._piece_width * self._pixel * self._bits]
        weights = (1 << np.arange(self._bits - 1, -1, -1)).astype(np.uint16)
        samples: NDArray[np.uint16] = bits.reshape(*pieces.shape[:2], -1, self._bits) @ weights
        return samples
