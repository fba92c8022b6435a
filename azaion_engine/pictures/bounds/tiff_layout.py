"""TiffLayout: how the samples of a TIFF's first image are stored.

Tags: TIFF 6.0; tag 42113: GDAL's documentation of its driver GTiff; numbers of compressions: libtiff's tiff.h and
https://www.awaresystems.be/imaging/tiff/tifftags/compression.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from azaion_engine.errors import UndecodablePictureError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, SAMPLES, ROWS, STRIP_BYTES, PLANES, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, SAMPLE_FORMAT = 322, 323, 324, 325, 339
SUBFILE_TYPE, COLOUR_MAP, DNG_VERSION, GDAL_NODATA = 254, 320, 50706, 42113

_SEPARATE = 2
"""PlanarConfiguration of `is_separate`."""
UNSIGNED, SIGNED, FLOAT, VOID = 1, 2, 3, 4
"""Values of the tag SampleFormat; 5 and 6 are complex numbers."""
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6

_LOW_BITS_FIRST = 2
"""FillOrder whose bytes are mirrored."""
OLD_JPEG, JPEG = 6, 7
ZSTANDARD = 50000
BYTEWISE = frozenset((1, 5, 8, 32773, 32946, ZSTANDARD))
"""None, LZW, Deflate twice, PackBits and Zstandard: they compress bytes, whatever samples these form."""
ACCEPTED = BYTEWISE | {2, 3, 4, OLD_JPEG, JPEG}
"""Fax and JPEG besides. LZMA is left out: its decoder allocates up to 4 GiB."""
_NAMES = {
    22610: "JPEG XR", 32766: "NeXT", 32767: "Sony raw", 32769: "packed raw", 32809: "ThunderScan", 33003: "JPEG 2000",
    33004: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG", 34676: "SGI LogLuv", 34677: "SGI LogLuv",
    34712: "JPEG 2000", 34713: "Nikon raw", 34715: "JBIG2", 34887: "LERC", 34892: "lossy JPEG of a DNG",
    34925: "LZMA", 34926: "Zstandard under its old number", 34927: "WebP", 34933: "PNG", 34934: "JPEG XR",
    50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 65000: "Kodak raw",
}  # fmt: skip
COLOURS = {
    PALETTE: "palette", 4: "transparency mask", 5: "CMYK", YCBCR: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab",
    32803: "colour filter array of a camera", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw of a camera",
}  # fmt: skip
_KINDS = {UNSIGNED: "unsigned", SIGNED: "signed", FLOAT: "float", VOID: "untyped", 5: "complex", 6: "complex"}


def damaged(why: str) -> UndecodablePictureError:
    """Returns the error of a TIFF that is not whole."""
    return UndecodablePictureError(f"the TIFF is damaged or truncated: {why}")


def compression_name(number: int) -> str:
    """Returns a compression's name and its number, for an error message."""
    return f"{_NAMES[number]} (compression {number})" if number in _NAMES else f"compression {number}"


@dataclass(frozen=True)
class TiffLayout:
    """How the samples of an image are stored.

    Attributes:
        values: Whole numbers of its tags, by tag.
        big_endian: Whether samples of several bytes begin with the most significant one.
        nodata: Value of samples that mean nothing, from GDAL's tag; None if there is none.
    """

    values: Mapping[int, tuple[int, ...]]
    big_endian: bool
    nodata: float | None

    def one(self, tag: int, default: int) -> int:
        """Returns the first value of a tag."""
        return (self.values.get(tag) or (default,))[0]

    @property
    def width(self) -> int:
        """Width as stored, in pixels."""
        return self.one(WIDTH, 0)

    @property
    def height(self) -> int:
        """Height as stored, in pixels."""
        return self.one(HEIGHT, 0)

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel."""
        return self.values.get(BITS) or (1,)

    @property
    def kinds(self) -> tuple[int, ...]:
        """SampleFormat of each sample of a pixel, or of all."""
        return self.values.get(SAMPLE_FORMAT) or (UNSIGNED,)

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.one(SAMPLES, 1)

    @property
    def is_separate(self) -> bool:
        """Whether each sample of a pixel is in a plane of its own, with its own strips or tiles."""
        return self.one(PLANES, 1) == _SEPARATE

    @property
    def planes(self) -> int:
        """Planes with strips or tiles of their own."""
        return self.samples if self.is_separate else 1

    @property
    def photometric(self) -> int:
        """What the samples mean."""
        return self.one(PHOTOMETRIC, BLACK_IS_ZERO)

    @property
    def is_deep(self) -> bool:
        """Whether its samples are grey or RGB that `readers.tiff.samples` reads, and not plain 8-bit ones."""
        [bits, *others] = set(self.bits)
        [kind, *other_kinds] = set(self.kinds)
        if others or other_kinds or self.photometric > RGB or self.one(COMPRESSION, 1) not in BYTEWISE:
            return False
        if kind in (UNSIGNED, VOID):
            plain = bits < 8 or (
                kind == UNSIGNED
                and (self.samples == 1 or (self.photometric == RGB and self.samples in (3, 4)))
                and self.one(FILL_ORDER, 1) != _LOW_BITS_FIRST  # Pillow knows some of these only
            )
            return 8 < bits <= 16 or bits in (32, 64) or (bits == 8 and not plain)
        return (kind == SIGNED and bits in (8, 16, 32, 64)) or (kind == FLOAT and bits in (16, 32, 64))

    @property
    def bands(self) -> tuple[int, ...] | None:
        """Samples of a pixel that are its grey, or its red, green and blue; None if the tags do not tell which.

        Of three or four bands without a colour, the first three are taken, as GDAL writes them for 16 bits.
        """
        if self.samples <= 2:
            return (0,)
        return (0, 1, 2) if self.photometric == RGB or self.samples <= 4 else None

    def describe(self) -> str:
        """Names the samples, for an error message: e.g. `3 samples of 64 bits, complex`."""
        bits = "+".join(str(one) for one in self.bits[:8]) if len(set(self.bits)) > 1 else str(self.bits[0])
        kinds = " and ".join(sorted({_KINDS.get(kind, f"format {kind}") for kind in self.kinds}))
        colour = f", {COLOURS[self.photometric]}" if self.photometric in COLOURS else ""
        return f"{self.samples} sample{'s' * (self.samples > 1)} of {bits} bits, {kinds}{colour}"
