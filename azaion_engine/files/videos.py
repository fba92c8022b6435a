"""Frames of a video, each with its own time, and whether the video is whole.

PyAV, not OpenCV: OpenCV ends a damaged video as it ends a whole one, counts time from the first frame, and takes only
names that are UTF-8. PyAV brings FFmpeg's own time stamps, its marks on damaged packets and frames, and reads through
Python's file objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from azaion_engine.errors import PictureError, UndecodablePictureError, reason
from azaion_engine.extras import import_extra
from azaion_engine.files.video_kind import stated_bytes

if TYPE_CHECKING:
    import numpy as np
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

_CONTAINERS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg"
"""FFmpeg's names of the containers that are read: none that names other files or addresses, as playlists do."""
_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "resync_size": str(1 << 30),  # bytes of a transport stream that are searched for its next packet
}
_MOST_FAULTS = 1000
"""Failed reads after which the rest of a file is left."""
_LEAST_GAP_BYTES = 1024
"""Bytes between two packets of a Matroska file above which they are looked at; headers between packets are shorter."""
_NO_PACKETS = tuple(
    bytes.fromhex(identifier)
    for identifier in ("1c53bb6b", "1254c367", "1941a469", "1043a770", "114d9b74", "1549a966", "1654ae6b")
)
"""Matroska's elements that may lie between packets or after them (RFC 9559): Cues, Tags, Attachments, Chapters,
SeekHead, Info, Tracks."""
_VOID = 0xEC
"""Matroska's element for room left free."""
_MOST_UNSEEN_S = 0.3
"""Seconds between the last packet and the last frame above which frames are missing; or three frames, if longer."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: Counted from 0, of those that can be decoded.
        time_s: Its own time stamp in the file, in seconds, which need not begin at 0; None if the file has none.
        pixels: uint8 RGB `[height, width, 3]`, turned upright.
    """

    index: int
    time_s: float | None
    pixels: NDArray[np.uint8]


def load_pyav() -> Any:
    """Returns the module `av`.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return import_extra("av", "PyAV, which reads videos and streams,", "pip install av")


def read_frames(path: str, every: int = 1) -> Iterator[Frame]:
    """Yields every n-th frame of a video file, from the first; damaged frames are left out.

    Raises:
        PictureError: The file cannot be read.
        UndecodablePictureError: It is no video; or, after the last frame, it is cut short or damaged.
        MissingDependencyError: PyAV is not installed.
    """
    av = load_pyav()
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; an error of opening it has another message)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise PictureError(f"cannot be read: {reason(error)}") from error
    with file:
        stated = stated_bytes(file)  # before FFmpeg moves the file's position, and counts on it
        try:
            container = av.open(file, options=_OPTIONS, metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            there = os.fstat(file.fileno()).st_size
            if stated > there:
                raise UndecodablePictureError(
                    f"the video breaks off: {there} of its {stated} bytes are there, "
                    f"and without the others no frame can be decoded ({reason(error)})"
                ) from error
            raise UndecodablePictureError(f"FFmpeg cannot open this video: {reason(error)}") from error
        with container:
            yield from _Reading(av, container, file, stated).frames(every)


def count_frames(path: str) -> int:
    """Returns the number of frames that the header of a video states or lets estimate, 0 where it does not."""
    av = load_pyav()
    with (
        suppress(av.FFmpegError, OSError, ValueError),
        open(path, "rb") as file,
        av.open(file, options=_OPTIONS, metadata_errors="replace") as container,
    ):
        stream = container.streams.best("video")
        if stream is None:
            return 0
        if stream.frames:
            return int(stream.frames)
        if container.duration and stream.average_rate:
            return max(0, int(container.duration / av.time_base * stream.average_rate))
    return 0


@dataclass
class _Reading:
    """One video being read; collects what shows that it is not whole."""

    av: Any
    container: InputContainer
    file: BinaryIO
    stated: int
    frame_count: int = 0
    last_s: float | None = None
    damaged: int = 0
    faults: int = 0
    packet_pos: int = -1
    packets_end: int = 0
    begins_s: float = 0.0
    ends_s: float = 0.0
    skipped_region: bool = False
    _errors: tuple[type[Exception], ...] = field(init=False)

    def __post_init__(self) -> None:
        self._errors = (self.av.FFmpegError, OSError, ValueError)

    def frames(self, every: int) -> Iterator[Frame]:
        best = self.container.streams.best("video")
        if best is None:
            raise UndecodablePictureError("the file has no video track")
        stream = cast("VideoStream", best)
        stream.thread_type = "AUTO"
        for frame in self._decoded(stream):
            index, self.frame_count = self.frame_count, self.frame_count + 1
            time_s = self._time_of(frame, stream, index)
            self.last_s = time_s
            if index % every == 0:
                yield Frame(index, time_s, upright(frame))
        if self.stated <= self._size():  # else it is known to break off
            self._look_between(self._size() if not self.stated else self.stated)
        if fault := self._fault(stream):
            raise UndecodablePictureError(fault)

    def _decoded(self, stream: VideoStream) -> Iterator[VideoFrame]:
        """Yields the whole frames; goes on after a read that failed."""
        while self.faults < _MOST_FAULTS:
            try:
                for packet in self.container.demux():
                    self._note(packet, stream)
                    if packet.stream.index == stream.index:
                        yield from self._whole_frames(packet)
                return  # the last packets of `demux` are empty and bring what the decoder still held
            except self._errors:
                self.faults += 1
                if self.file.tell() >= self._size():
                    break
        with suppress(*self._errors):
            yield from (frame for frame in stream.decode(None) if not frame.is_corrupt)

    def _whole_frames(self, packet: Packet) -> list[VideoFrame]:
        try:
            frames: list[Any] = list(packet.decode())
        except self._errors:
            self.damaged += self._counts
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self.damaged += (len(frames) - len(whole)) * self._counts
        return whole

    @property
    def _counts(self) -> bool:
        """Whether damage counts: a recorded broadcast begins anywhere, with frames that refer to missing ones."""
        return self.frame_count > 0 or not self.container.format.name.startswith("mpeg")

    def _note(self, packet: Packet, stream: VideoStream) -> None:
        if not packet.size:
            return
        if packet.is_corrupt and packet.stream.index == stream.index:
            self.damaged += self._counts
        if packet.stream.index == stream.index and packet.pts is not None and packet.time_base:
            begins = float(packet.pts * packet.time_base)
            self.begins_s = max(self.begins_s, begins)
            self.ends_s = max(self.ends_s, begins + float((packet.duration or 0) * packet.time_base))
        if packet.pos is None or packet.pos < 0 or "matroska" not in self.container.format.name:
            return
        if packet.pos == self.packet_pos:  # one block with several packets
            self.packets_end += packet.size
            return
        self._look_between(packet.pos)
        self.packet_pos, self.packets_end = packet.pos, packet.pos + packet.size

    def _look_between(self, begin: int) -> None:
        """Notes whether a Matroska file has something between two packets, or after the last, that is no element."""
        if not self.packets_end or begin - self.packets_end <= _LEAST_GAP_BYTES:
            return
        # A packet's position is that of its block, whose header of a few bytes is not part of its size.
        near = os.pread(self.file.fileno(), 64, self.packets_end)
        if _VOID not in near[:24] and not any(identifier in near for identifier in _NO_PACKETS):
            self.skipped_region = True

    def _time_of(self, frame: VideoFrame, stream: VideoStream, index: int) -> float | None:
        if frame.time is not None:
            return round(float(frame.time), 3)
        return round(index / float(stream.average_rate), 3) if stream.average_rate else None

    def _size(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def _fault(self, stream: VideoStream) -> str | None:
        """Returns what shows that the video is not whole; None: nothing does."""
        if not self.frame_count:
            return "no frame of this video can be decoded"
        there = f"{self.frame_count} frames can be decoded"
        if self.last_s is not None:
            there += f", the last at {self.last_s:g} s"
        if self.stated > (size := self._size()):
            return f"the video breaks off: {size} of its {self.stated} bytes are there; {there}"
        if missing := self._missing_at_end(stream):
            return f"the video breaks off: its header states {missing:g} s more; {there}"
        if self.damaged or self.faults or self.skipped_region or self._unseen_at_end(stream):
            return f"the video is damaged or breaks off: parts of it cannot be decoded; {there}"
        return None

    def _unseen_at_end(self, stream: VideoStream) -> bool:
        """Whether packets long after the last frame gave none: a decoder may pass over frames without reference."""
        frame_s = 1 / float(stream.average_rate) if stream.average_rate else 0.1
        return self.last_s is not None and self.begins_s - self.last_s > max(_MOST_UNSEEN_S, 3 * frame_s)

    def _missing_at_end(self, stream: VideoStream) -> float:
        """Returns by how many seconds an AVI's frames end before its header says; 0: no more than rounding.

        Only AVI: the length in other headers may be another track's, or that before an edit.
        """
        if self.container.format.name != "avi" or not stream.duration or not stream.time_base:
            return 0.0
        missing = float(stream.duration * stream.time_base) - self.ends_s
        frame_s = 1 / float(stream.average_rate) if stream.average_rate else 0.1
        return round(missing, 3) if missing > 1.5 * frame_s else 0.0


def upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """Returns the pixels, turned by what the file says: degrees counter-clockwise, as `numpy.rot90` turns."""
    import numpy as np

    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
