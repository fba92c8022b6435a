"""WebP frame: whether its bitstream is read to its end; libwebp makes some picture of blank bytes, and reports nothing.

Container: RFC 9649, section 2.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np

from azaion_engine.pictures.bounds.blank import has_blank_part

_CHUNK = struct.Struct("<4sI")
_BITSTREAMS = (b"VP8 ", b"VP8L")
_FRAME, _FRAME_BYTES = b"ANMF", 16
"""Chunk of an animation's frame, and the bytes before the chunks in it."""
_MOST_CHUNKS = 1 << 10
"""Maximum chunks before the first frame that are looked at; encoders write half a dozen."""
_LEFT_OUT = 32
"""Bytes at the end without which a decoder fails if it reads them."""


def is_whole(data: bytes) -> bool:
    """Returns whether the first frame's bitstream is one that needs all of its bytes; True if it has no blank part.

    What overwrites a part of it makes libwebp reach the last pixel too early. So a frame with a blank part is decoded
    once more, without its last bytes: that fails where they are needed.

    Args:
        data: The file; what is malformed is left to libwebp.
    """
    name, start, end = _find_frame(data)
    if not has_blank_part(data, start, end):  # flat pictures have zeros, too
        return True
    body = data[start : max(start, end - _LEFT_OUT)]
    body += bytes(len(body) % 2)  # chunks have even lengths
    shorter = b"".join([_CHUNK.pack(b"RIFF", 4 + _CHUNK.size + len(body)), b"WEBP", _CHUNK.pack(name, len(body)), body])
    return cv2.imdecode(np.frombuffer(shorter, np.uint8), cv2.IMREAD_COLOR) is None


def _find_frame(data: bytes) -> tuple[bytes, int, int]:
    """Returns name, begin and end of the content of the first chunk with a bitstream; the end is 0 if there is none."""
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + _CHUNK.size > len(data):
            break
        name, length = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        if name in _BITSTREAMS:
            return name, at, min(at + length, len(data))
        at += _FRAME_BYTES if name == _FRAME else length + length % 2
    return b"", 0, 0
