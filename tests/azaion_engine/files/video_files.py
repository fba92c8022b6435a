"""Videos that tests make: each frame has a colour of its own; whole, cut, with a part zeroed, and turned."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

RATE = 48_000
"""Samples of sound a second."""
TIME_BASE = Fraction(1, 1000)
CODECS = {".mp4": "libx264", ".mkv": "libx264", ".ts": "libx264", ".avi": "mpeg4", ".mov": "libx264"}


def write_frames(path: Path, times_ms: Sequence[int], *, codec: str | None = None, sound: bool = False) -> Path:
    """Writes a frame for each time: noise, so that a byte lost is a frame lost, with a red left half."""
    suffix = path.suffix or ".mp4"
    path.write_bytes(_encoded(suffix, tuple(times_ms), codec or CODECS[suffix], sound))
    return path


@lru_cache(maxsize=32)
def _encoded(suffix: str, times_ms: tuple[int, ...], codec: str, sound: bool) -> bytes:
    width, height = 160, 96
    noise = np.random.default_rng(0)
    # The index comes first, as in files for the web: the end can be missing.
    how = {"movflags": "faststart"} if suffix in (".mp4", ".mov") else {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        with av.open(str(path), "w", options=how) as container:
            quick = {"preset": "ultrafast"} if codec == "libx264" else {}
            stream = container.add_stream(codec, rate=10, options=quick)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.gop_size = 4
            hiss = container.add_stream("aac", rate=RATE) if sound else None
            steady = suffix == ".avi"
            if not steady:
                stream.codec_context.time_base = TIME_BASE
            for index, time_ms in enumerate(times_ms):
                pixels = noise.integers(0, 255, (height, width, 3), np.uint8)
                pixels[:, : width // 2] = (200, 0, 0)
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = (index, Fraction(1, 10)) if steady else (time_ms, TIME_BASE)
                container.mux(stream.encode(frame))
            if hiss:
                for begin in range(0, (times_ms[-1] - times_ms[0]) * RATE // 1000, 1024):
                    samples = noise.normal(0, 0.1, (2, 1024)).astype(np.float32)
                    heard = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
                    heard.sample_rate, heard.pts, heard.time_base = RATE, begin, Fraction(1, RATE)
                    container.mux(hiss.encode(heard))
                container.mux(hiss.encode())
            container.mux(stream.encode())
        return path.read_bytes()


def cut(path: Path, share: float = 0.5) -> Path:
    """Cuts a file's end off."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def zero_middle(path: Path, share: float = 0.1) -> Path:
    """Writes zeros over a part in the middle of a file, as a download with a hole has them."""
    data = bytearray(path.read_bytes())
    begin, length = int(len(data) * 0.5), int(len(data) * share)
    data[begin : begin + length] = bytes(length)
    path.write_bytes(data)
    return path


def turn(path: Path) -> Path:
    """Marks an MP4's picture as to be shown a quarter turn clockwise, as phones do (ISO/IEC 14496-12, `tkhd`)."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
