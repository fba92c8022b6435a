"""Which reader a TIFF needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_directory import TiffDirectory
from azaion_engine.pictures.bounds.tiff_pieces import check_number
from azaion_engine.pictures.readers.base import PixelReader
from azaion_engine.pictures.readers.opencv_reader import OpencvReader
from azaion_engine.pictures.readers.tiff.samples import TiffSamples

_LAB = 8
_SUBSAMPLING = 530
"""Tag of the pixels that share their colours, across and down; two each if it is missing (TIFF 6.0, section 21)."""


def tiff_reader(directory: TiffDirectory) -> PixelReader | None:
    """Returns the reader of a TIFF, or None if Pillow decodes it.

    Raises:
        UnsupportedPictureError: Its samples are of a kind that is not accepted; the message names it.
        UndecodablePictureError: Strips, tiles or colours of the palette are missing.
    """
    layout = directory.layout
    if tags.DNG_VERSION in layout.values or layout.one(tags.SUBFILE_TYPE, 0) & 1:
        # Camera raw files are TIFFs whose first image is a thumbnail: boxes on it would be useless.
        raise UnsupportedPictureError("given a camera raw file or a TIFF that begins with a thumbnail")
    if layout.is_deep:
        return TiffSamples(directory.data, layout)
    check_number(layout)
    compression = layout.one(tags.COMPRESSION, 1)
    bytewise = compression in tags.BYTEWISE
    eight = set(layout.bits) == {8} and layout.samples == 3
    if bytewise and eight and layout.photometric in (tags.YCBCR, _LAB):
        if compression == tags.ZSTANDARD:  # OpenCV's wheels lack it
            raise UnsupportedPictureError(f"given a TIFF with {layout.describe()}, in Zstandard, which is not accepted")
        return _Checked(directory)
    bits = max(layout.bits)
    deep_palette = layout.photometric == tags.PALETTE and bits > 8  # Pillow takes its numbers for grey
    if {5, 6} & set(layout.kinds) or bits > 16 or deep_palette:
        raise UnsupportedPictureError(f"given a TIFF with {layout.describe()}, which is not accepted")
    if layout.photometric == tags.PALETTE and len(layout.values.get(tags.COLOUR_MAP, ())) < 3 << bits:
        raise tags.damaged("colours of its palette are missing")
    return None


class _Checked(OpencvReader):
    """Decodes a TIFF with OpenCV, which leaves damaged strips and tiles black, after Pillow has decompressed it."""

    def __init__(self, directory: TiffDirectory) -> None:
        layout = directory.layout
        super().__init__(directory.data, layout.width, layout.height, tags.COLOURS[layout.photometric])
        # Pieces with fewer colours than pixels have rows of another kind; only the tool rgb2ycbcr compresses these.
        fewer = layout.photometric == tags.YCBCR and layout.values.get(_SUBSAMPLING, (2, 2)) != (1, 1)
        self._samples = None if fewer else TiffSamples(directory.data, layout)

    def read(self) -> NDArray[np.uint8]:
        if self._samples is not None:
            self._samples.read_samples()
        return super().read()
