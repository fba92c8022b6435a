"""Video files: recognised by their first bytes, and whether the container states more bytes than the file has."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

HEAD_BYTES = 1024
"""First bytes of a file that are enough for `is_video_head`."""

_STARTS = (
    b"\x1a\x45\xdf\xa3",  # EBML: Matroska and WebM (RFC 8794)
    b"\x00\x00\x01\xba",  # MPEG program stream (ISO/IEC 13818-1)
    b"\x00\x00\x01\xb3",  # MPEG video (ISO/IEC 11172-2)
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, Windows Media
)
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STILL_BRANDS = frozenset(
    (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"crx ", b"jp2 ")
)
"""Brands of ISO files that hold pictures: AVIF, HEIF, Canon's raw pictures, JPEG 2000."""
_TS_PACKETS = ((188, 0), (192, 4))
"""Size of a transport stream's packets, and offset of the sync byte 0x47: plain, and with BDAV's time codes."""

_SEGMENT = 0x18538067
"""Matroska's element that holds everything but the EBML header (RFC 9559)."""


def is_video_head(head: bytes) -> bool:
    """Returns whether a file is a video, by its first `HEAD_BYTES` bytes or all of it."""
    if head.startswith(_STARTS):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] == b"AVI "
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL_BRANDS
    if head[4:8] in _QUICKTIME_BOXES:
        return True
    return any(_is_transport_stream(head, size, offset) for size, offset in _TS_PACKETS)


def _is_transport_stream(head: bytes, size: int, offset: int) -> bool:
    if head[offset : offset + 1] != b"\x47":
        return False
    syncs = head[offset::size]
    return len(syncs) >= 3 and set(syncs) == {0x47}


def stated_bytes(file: BinaryIO) -> int:
    """Returns the bytes that the container says the file has, as far as it says so: no more than it has if it is whole.

    ISO files (MP4, QuickTime), AVI and Matroska state the sizes of their parts, a transport stream has whole packets;
    other containers, and files that were written as a stream, do not say. Leaves the file at its start.

    Args:
        file: The video, at any position.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        file.seek(0)
        head = file.read(HEAD_BYTES)
        if head[4:8] == b"ftyp" or head[4:8] in _QUICKTIME_BOXES:
            return _end_of_boxes(file, size)
        if head.startswith(b"RIFF"):
            return _end_of_riff(file, size)
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return _end_of_segment(file)
        for packet, offset in _TS_PACKETS:
            if _is_transport_stream(head, packet, offset):
                return _end_of_packets(file, size, packet, offset)
        return 0
    finally:
        file.seek(0)


def _end_of_packets(file: BinaryIO, size: int, packet: int, offset: int) -> int:
    whole = size // packet * packet
    file.seek(whole + offset)
    return whole + packet if file.read(1) == b"\x47" else whole  # what is no packet was appended


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    end = 0
    while end + 8 <= size:
        file.seek(end)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:  # its size has 64 bits and follows
            large = file.read(8)
            length = struct.unpack(">Q", large)[0] if len(large) == 8 else size - end + 1
        if length == 0:  # to the end of the file
            return size
        if length < 8 or not kind.isascii():  # no box: left to the demuxer
            return end
        end += length
    return end


def _end_of_riff(file: BinaryIO, size: int) -> int:
    end = 0
    while end + 12 <= size:  # AVI of more than 1 GB: several RIFF chunks (OpenDML)
        file.seek(end)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind != b"RIFF" or length in (0, 0xFFFFFFFF):  # never finished, or something appended
            return end
        end += 8 + length + length % 2
    return end


def _end_of_segment(file: BinaryIO) -> int:
    file.seek(4)
    length = _ebml_number(file)
    if length is None:
        return 0
    file.seek(file.tell() + length)
    if int.from_bytes(file.read(4), "big") != _SEGMENT:
        return 0
    length = _ebml_number(file)
    return 0 if length is None else file.tell() + length


def _ebml_number(file: BinaryIO) -> int | None:
    """Reads a size of EBML (RFC 8794, section 4); None: unknown, or none there."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
    return None if len(rest) < width - 1 or value == (1 << 7 * width) - 1 else value
