"""Attacks: pictures made to cost much more than their size, each against one part of a decoder.

The sizes are the largest that the default limits of the service let in: 32 MiB and 100 million pixels.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

from tests.azaion_engine.pictures.picture_files import corners, encode, exif, png_chunk, raw_png

MOST_BYTES = 31 * 2**20


def png_of_profiles(most: int = MOST_BYTES) -> bytes:
    """A PNG of thousands of colour profiles, each of which inflates to a megabyte."""
    png, chunk = encode(corners(), "PNG"), png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2**20)))
    return png[:33] + chunk * (most // len(chunk)) + png[33:]


def png_of_texts() -> bytes:
    """The same with texts behind the pixels, where Pillow reads on."""
    png, chunk = encode(corners(), "PNG"), png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**20)))
    return png[:-12] + chunk * (MOST_BYTES // len(chunk)) + png[-12:]


def png_of_chunks() -> bytes:
    """A PNG of as many empty chunks as fit."""
    png, chunk = encode(corners(), "PNG"), png_chunk(b"prVt", b"")
    return png[:33] + chunk * (MOST_BYTES // len(chunk)) + png[33:]


def png_of_slivers() -> bytes:
    """A PNG whose pixels are in chunks of one byte."""
    png = encode(corners(100, 100), "PNG")
    rows = zlib.compress(bytes(301 * 100), 0)
    pieces = b"".join(png_chunk(b"IDAT", rows[at : at + 1]) for at in range(len(rows)))
    return png[:33] + pieces + png[-12:]


def png_of_claimed_pixels() -> bytes:
    """A PNG of 10,000² pixels with the data of one row."""
    return raw_png(10_000, 10_000, 16, 6, bytes(80_001))


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG of 4,000² pixels that has passes without end."""
    jpeg = encode(np.full((4000, 4000, 3), 100, np.uint8), "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * (scans - jpeg.count(b"\xff\xda")) + jpeg[-2:]


def jpeg_of_exif() -> bytes:
    """A JPEG of hundreds of EXIF segments, which Pillow joins one by one."""
    return _jpeg_with(_segment(0xE1, exif(6) + bytes(65_000)))


def jpeg_of_photoshop() -> bytes:
    """A JPEG of Photoshop resources, of which Pillow reads each in Python."""
    return _jpeg_with(_segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000))


def jpeg_of_comments() -> bytes:
    """A JPEG of millions of empty comments."""
    return _jpeg_with(_segment(0xFE, b""))


def jpeg_of_junk() -> bytes:
    """A JPEG whose header has megabytes of nothing between two segments."""
    jpeg = encode(corners(), "JPEG")
    return jpeg[:20] + bytes(MOST_BYTES) + jpeg[20:]


def tiff_of_tags() -> bytes:
    """A TIFF of 65,535 tags that all have the same 30 MB as their value."""
    entries = b"".join(struct.pack("<HHII", tag, 7, 30_000_000, 8) for tag in range(65_535))
    return b"II*\0" + struct.pack("<IH", 8, 65_535) + entries + bytes(4) + bytes(30_000_000)


def tiff_of_strips() -> bytes:
    """A TIFF of 60,000 strips that are all the same megabytes."""
    count, place = 60_000, 1_000
    tags = {256: (4, 1, 1000), 257: (4, 1, count), 258: (3, 1, 8), 259: (3, 1, 5), 262: (3, 1, 1), 277: (3, 1, 1)}
    tags |= {273: (4, count, place), 278: (4, 1, 1), 279: (4, count, place + 4 * count)}
    start = place + 8 * count
    values = struct.pack("<I", start) * count + struct.pack("<I", 20_000_000) * count
    return _tiff(tags).ljust(place, b"\0") + values + bytes(20_000_000)


def tiff_of_one_tile() -> bytes:
    """A TIFF of one pixel in a tile of two gigabytes."""
    packed = zlib.compress(bytes(30_000_000))
    tags = {256: (4, 1, 1), 257: (4, 1, 1), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1), 277: (3, 1, 1)}
    tags |= {322: (4, 1, 46_336), 323: (4, 1, 46_336), 324: (4, 1, 1_000), 325: (4, 1, len(packed))}
    return _tiff(tags).ljust(1000, b"\0") + packed


def tiff_of_scans() -> bytes:
    """A TIFF with a JPEG of a hundred scans in it."""
    jpeg = jpeg_of_scans(100)
    tags = {256: (4, 1, 4000), 257: (4, 1, 4000), 258: (3, 1, 8), 259: (3, 1, 7), 262: (3, 1, 6), 277: (3, 1, 3)}
    tags |= {273: (4, 1, 1000), 278: (4, 1, 4000), 279: (4, 1, len(jpeg))}
    return _tiff(tags).ljust(1000, b"\0") + jpeg


def webp_of_frames() -> bytes:
    """An animated WebP of thousands of frames, of which one is needed."""
    webp = encode(Image.fromarray(corners()), "WEBP", save_all=True, append_images=[Image.fromarray(corners()[::-1])])
    frame = webp[webp.index(b"ANMF") :]
    frame = frame[: 8 + struct.unpack_from("<I", frame, 4)[0]]
    body = webp[8:] + frame * (MOST_BYTES // 4 // len(frame))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_of_canvas() -> bytes:
    """A WebP whose canvas has 100 million pixels, and whose frame has few."""
    webp = bytearray(encode(Image.fromarray(corners()), "WEBP", exif=exif(6)))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (9999).to_bytes(3, "little") * 2
    return bytes(webp)


def narrow(kind: str) -> bytes:
    """A picture one pixel wide and as high as its format lets it be."""
    height = {"JPEG": 65_500, "WEBP": 16_383}.get(kind, 4_000_000)
    return encode(np.full((height, 1, 3), 100, np.uint8), kind)


def bmp_of_claimed_pixels() -> bytes:
    """A BMP of 10,000² pixels with the data of few."""
    bmp = bytearray(encode(corners(), "BMP"))
    struct.pack_into("<ii", bmp, 18, 10_000, 10_000)
    return bytes(bmp)


ATTACKS = {
    "PNG of profiles": png_of_profiles,
    "PNG of texts": png_of_texts,
    "PNG of chunks": png_of_chunks,
    "PNG of slivers": png_of_slivers,
    "PNG of claimed pixels": png_of_claimed_pixels,
    "JPEG of 100 scans": lambda: jpeg_of_scans(100),
    "JPEG of 30,000 scans": lambda: jpeg_of_scans(30_000),
    "JPEG of EXIF": jpeg_of_exif,
    "JPEG of Photoshop resources": jpeg_of_photoshop,
    "JPEG of comments": jpeg_of_comments,
    "JPEG of junk": jpeg_of_junk,
    "TIFF of tags": tiff_of_tags,
    "TIFF of strips": tiff_of_strips,
    "TIFF of one tile": tiff_of_one_tile,
    "TIFF of scans": tiff_of_scans,
    "WebP of frames": webp_of_frames,
    "WebP of canvas": webp_of_canvas,
    "narrow JPEG": lambda: narrow("JPEG"),
    "narrow PNG": lambda: narrow("PNG"),
    "narrow WebP": lambda: narrow("WEBP"),
    "narrow BMP": lambda: narrow("BMP"),
    "narrow TIFF": lambda: narrow("TIFF"),
    "BMP of claimed pixels": bmp_of_claimed_pixels,
}
"""What makes each attack."""


def _jpeg_with(segment: bytes) -> bytes:
    jpeg = encode(corners(), "JPEG")
    return jpeg[:20] + segment * (MOST_BYTES // len(segment)) + jpeg[20:]


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _tiff(tags: dict[int, tuple[int, int, int]]) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
