"""Which reader a TIFF needs."""

from __future__ import annotations

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_directory import TiffDirectory
from azaion_engine.pictures.bounds.tiff_pieces import check_number
from azaion_engine.pictures.readers.base import PixelReader
from azaion_engine.pictures.readers.opencv_reader import OpencvReader
from azaion_engine.pictures.readers.tiff.samples import TiffSamples

_LAB = 8


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
    bytewise = layout.one(tags.COMPRESSION, 1) in tags.BYTEWISE
    eight = set(layout.bits) == {8} and layout.samples == 3
    if bytewise and eight and layout.photometric in (tags.YCBCR, _LAB):
        _check_complete(directory)
        return OpencvReader(directory.data, layout.width, layout.height, tags.COLOURS[layout.photometric])
    bits = max(layout.bits)
    deep_palette = layout.photometric == tags.PALETTE and bits > 8  # Pillow takes its numbers for grey
    if {5, 6} & set(layout.kinds) or bits > 16 or deep_palette:
        raise UnsupportedPictureError(f"given a TIFF with {layout.describe()}, which is not accepted")
    if layout.photometric == tags.PALETTE and len(layout.values.get(tags.COLOUR_MAP, ())) < 3 << bits:
        raise tags.damaged("colours of its palette are missing")
    return None


def _check_complete(directory: TiffDirectory) -> None:
    """Refuses pieces that reach beyond the file's end, which OpenCV would leave black without an error."""
    for offsets, lengths in ((tags.STRIP_OFFSETS, tags.STRIP_BYTES), (tags.TILE_OFFSETS, tags.TILE_BYTES)):
        places = zip(directory.layout.values.get(offsets, ()), directory.layout.values.get(lengths, ()), strict=False)
        if any(offset + length > len(directory.data) for offset, length in places):
            raise UndecodablePictureError("the TIFF is damaged or truncated: its strips or tiles are cut off")
