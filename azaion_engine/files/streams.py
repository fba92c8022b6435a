"""Live streams: cameras by address or device number; yields the newest frame of each and drops the others."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Condition, Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any

from azaion_engine.errors import PictureError, reason
from azaion_engine.files.sources import Item
from azaion_engine.files.videos import load_pyav, upright

if TYPE_CHECKING:
    from av import VideoFrame

_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "srt", "tcp")
_OPEN_TIMEOUT_S, _READ_TIMEOUT_S = 10.0, 10.0
"""Time for a connection, and for the next data, after which it counts as lost."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
"""Time before the first reconnect, and at most; it doubles with each attempt."""
_END_WAIT_S = 2.0


def is_stream(text: str) -> bool:
    """Returns whether an argument names a stream: an address such as `rtsp://…`, or the number of a camera.

    A file of that name comes first.
    """
    if re.match(rf"({'|'.join(_SCHEMES)})://", text, re.IGNORECASE):
        return True
    return text.isascii() and text.isdecimal() and not Path(text).exists()


def shown_address(address: str) -> str:
    """Returns an address without user name, password and query, for outputs and messages."""
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://" + re.split("[?#]", f"{host.rpartition('@')[2]}{slash}{path}")[0]


def frames_start(index: int) -> str:
    """Returns the start of the names of a stream's frames; `_`, six digits or more and a suffix follow."""
    return f"stream_{index}"


class Streams:
    """Reads several streams, each in a thread; as a context manager, disconnects at its end."""

    def __init__(
        self,
        addresses: list[str],
        *,
        reconnects: int = 5,
        every: int = 1,
        lost: Callable[[str, str], None] = lambda address, why: None,
    ) -> None:
        """Connects nothing yet.

        Args:
            addresses: As `is_stream` accepts them.
            reconnects: Failed attempts to connect, one after the other, after which a stream is given up.
            every: Only each n-th frame counts.
            lost: Called in a stream's thread, with its address and the reason, when it will be connected again.

        Raises:
            MissingDependencyError: PyAV is not installed.
        """
        av = load_pyav()
        self._changed = Condition()
        self._stop = Event()
        self._streams = [
            _Stream(av, address, index, self._changed, self._stop, reconnects, every, lost)
            for index, address in enumerate(addresses)
        ]

    def __enter__(self) -> Streams:
        for stream in self._streams:
            stream.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        deadline = time.monotonic() + _END_WAIT_S
        for stream in self._streams:  # one that waits for its camera ends by its timeout
            stream.thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def skipped(self) -> int:
        """Frames that a newer one replaced before they were taken."""
        return sum(stream.skipped for stream in self._streams)

    def newest(self, until: float | None = None) -> Iterator[list[Item]]:
        """Yields the newest frames of all streams that have one, each once, whenever there is any.

        Ends when all streams have ended. A stream that is given up has an item with its error as its last, and so has
        one of which no frame came until the end.

        Args:
            until: Time of `time.monotonic` at which to end; None: never.
        """
        yield from self._news(until)
        if silent := [stream.silence() for stream in self._streams if stream.is_silent]:
            yield silent

    def _news(self, until: float | None) -> Iterator[list[Item]]:
        while True:
            with self._changed:
                while not (ready := [stream for stream in self._streams if stream.has_news]):
                    if all(stream.ended for stream in self._streams):
                        return
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    self._changed.wait(left)
                taken = [stream.take() for stream in ready]
            yield [item() for item in taken]
            if until is not None and time.monotonic() >= until:
                return


class _Stream:
    """One stream; its fields are shared with its thread under the condition."""

    def __init__(
        self,
        av: Any,
        address: str,
        index: int,
        changed: Condition,
        stop: Event,
        reconnects: int,
        every: int,
        lost: Callable[[str, str], None],
    ) -> None:
        self._av, self._address, self._index = av, address, index
        self._shown = shown_address(address)
        self._changed, self._stop = changed, stop
        self._reconnects, self._every, self._lost = reconnects, every, lost
        self._newest: tuple[VideoFrame, int, float] | None = None
        self._error: PictureError | None = None
        self._received = 0
        self.skipped = 0
        self.ended = False
        self.thread = Thread(target=self._run, name=f"stream {index}", daemon=True)

    @property
    def has_news(self) -> bool:
        return self._newest is not None or self._error is not None

    @property
    def is_silent(self) -> bool:
        """Whether it goes on, and no frame has come yet."""
        return not self.ended and not self._received

    def silence(self) -> Item:
        """Returns an item that says so."""
        return Item(self._shown, self._name(0), PictureError("no frame came in the time given"), stream=self._index)

    def take(self) -> Callable[[], Item]:
        """Takes the newest frame or the error; the function returned makes its item, outside the lock."""
        if self._newest is None:
            error, self._error = self._error, None
            return lambda: Item(self._shown, self._name(0), error or PictureError("ended"), stream=self._index)
        (frame, number, clock_s), self._newest = self._newest, None
        return lambda: Item(
            self._shown,
            self._name(number),
            upright(frame),
            frame=number,
            time_s=None if frame.time is None else round(float(frame.time), 3),
            stream=self._index,
            clock_s=clock_s,
        )

    def _name(self, number: int) -> str:
        return f"{frames_start(self._index)}_{number:06d}.jpg"

    def _run(self) -> None:
        failures, why = 0, ""
        while not self._stop.is_set():
            received = self._received
            try:
                if self._read():
                    break
                why = "the connection ended"
            except (self._av.FFmpegError, OSError, ValueError) as error:
                why = reason(error)
            failures = 1 if self._received > received else failures + 1
            if failures > self._reconnects:
                with self._changed:
                    self._error = PictureError(f"given up after {self._reconnects} reconnects: {why}")
                break
            if self._stop.is_set():
                break
            self._lost(self._shown, why)
            self._stop.wait(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (failures - 1)))
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _read(self) -> bool:
        """Reads one connection to its end; returns whether what was sent has an end, as a file on a server."""
        address, format_ = _device(self._address)
        options = {"rtsp_flags": "prefer_tcp"} if address.lower().startswith("rtsp") else {}
        with self._av.open(
            address,
            format=format_,
            options=options,
            timeout=(_OPEN_TIMEOUT_S, _READ_TIMEOUT_S),
            metadata_errors="replace",
        ) as container:
            video = container.streams.best("video")
            if video is None:
                raise ValueError("it has no video")
            video.thread_type = "SLICE"  # threads of frames would hold each frame back for as many others
            finite = bool(container.duration and container.duration > 0)
            for packet in container.demux(video):
                if self._stop.is_set():
                    return True
                # A frame lost on the way makes the next ones undecodable, until one that stands alone.
                with contextlib.suppress(self._av.InvalidDataError):
                    for frame in packet.decode():
                        if not frame.is_corrupt:
                            self._offer(frame)
            return finite

    def _offer(self, frame: VideoFrame) -> None:
        with self._changed:
            number = self._received
            self._received += 1
            if number % self._every:
                return
            self.skipped += self._newest is not None
            self._newest = (frame, number, time.time())
            self._changed.notify_all()


def _device(address: str) -> tuple[str, str | None]:
    """Returns FFmpeg's name of a camera given by number, and of the interface that has it; addresses as they are."""
    if not address.isdecimal():
        return address, None
    if sys.platform == "darwin":
        return address, "avfoundation"
    return f"/dev/video{address}", "v4l2"
