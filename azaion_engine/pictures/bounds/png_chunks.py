"""PNG chunks: keeps those that pixels are made of; text, profiles and animation never reach the decoder."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError

MOST_CHUNKS = 1 << 16
"""Maximum chunks of one file: a file of 32 MiB in chunks of 512 bytes, smaller than any encoder's."""

_HEAD = struct.Struct(">I4s")
_CRC_BYTES = 4
_NEEDED = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
"""The critical chunks (PNG, third edition, section 11.2). Ancillary ones change no sample that is kept: alpha and
colour profiles are ignored."""
_ONCE = frozenset((b"IHDR", b"PLTE"))
_APPLE = b"CgBI"
"""Chunk before the header: pixels are then compressed without zlib's header, and stored as BGR."""
_EXIF, _TEXTS = b"eXIf", (b"tEXt", b"zTXt")
_PROFILE = b"Raw profile type exif\0"
"""Keyword of ImageMagick's text chunk, used for EXIF before the chunk eXIf existed."""
_MOST_PROFILE_BYTES = 1 << 20
_COLOUR_AT, _PALETTE_COLOUR = 25, b"\3"
"""Offset of the header's colour type, and that of pictures with a palette (section 11.2.1)."""


class PngChunks(NamedTuple):
    """A PNG without what its pixels do not need.

    Attributes:
        data: The file with critical chunks only.
        exif: Its EXIF block, without the prefix `Exif` and two zeros; empty if there is none.
    """

    data: bytes
    exif: bytes


def needed_chunks(data: bytes) -> PngChunks:
    """Drops ancillary chunks; takes microseconds a chunk, inflates nothing but one EXIF profile of at most 1 MiB.

    Args:
        data: A file that begins with PNG's signature; what is malformed stays, for the decoder to refuse.

    Raises:
        UndecodablePictureError: There are more than `MOST_CHUNKS` chunks, two headers or two palettes; or the palette
            is missing, which Pillow would fill in.
        UnsupportedPictureError: Apple's variant.
    """
    kept: list[tuple[int, int]] = [(0, 8)]
    exif, profile = b"", b""
    at = 8
    found: set[bytes] = set()
    for _ in range(MOST_CHUNKS):
        if at + _HEAD.size > len(data):
            break
        length, name = _HEAD.unpack_from(data, at)
        body, end = at + _HEAD.size, at + _HEAD.size + length + _CRC_BYTES
        if name == _APPLE:
            raise UnsupportedPictureError("given a PNG as Xcode rewrites it for iOS (CgBI), which is no valid PNG")
        if name in _ONCE:
            if name in found:
                raise damaged(f"it has two chunks {name.decode()}")
            found.add(name)
        if name == b"PLTE" and (length == 0 or length % 3):
            raise damaged(f"its palette has {length} bytes, not three for each colour")
        if name == b"IDAT" and data.startswith(_PALETTE_COLOUR, _COLOUR_AT) and b"PLTE" not in found:
            raise damaged("its palette is missing")
        if name in _NEEDED or not (name.isalpha() and name[:1].islower()):
            start, last = kept[-1]
            kept[-1:] = [(start, end)] if last == at else [(start, last), (at, end)]
        elif name == _EXIF and not exif:
            exif = data[body : body + length]
        elif name in _TEXTS and not profile and data.startswith(_PROFILE, body):
            profile = _profile(name, data[body + len(_PROFILE) : body + length])
        at = end
        if name == b"IEND":
            break
    else:
        raise UndecodablePictureError(f"the PNG has more than the {MOST_CHUNKS} pieces accepted")
    lean = data if len(kept) == 1 and at >= len(data) else b"".join([data[start:end] for start, end in kept])
    return PngChunks(lean, exif or profile)


def damaged(why: str) -> UndecodablePictureError:
    """Returns the error of a PNG whose chunks cannot make up a whole picture.

    Args:
        why: What is wrong with them.
    """
    return UndecodablePictureError(f"the PNG is damaged or truncated: {why}")


def _profile(name: bytes, body: bytes) -> bytes:
    """Reads the profile: a line "exif", a line with the length, hexadecimal lines."""
    try:
        # The first byte of a zTXt is its compression method, always zlib's.
        text = body if name == b"tEXt" else zlib.decompressobj().decompress(body[1:], _MOST_PROFILE_BYTES)
        return bytes.fromhex("".join(text[:_MOST_PROFILE_BYTES].decode("latin-1").split("\n")[3:]))
    except (zlib.error, ValueError):  # broken metadata do not make a picture unusable
        return b""
