"""Source: an input of `azaion detect`, and the pictures in it."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from azaion_engine.errors import InvalidParameterError, PictureError, PictureTooLargeError, quote, reason
from azaion_engine.files.names import suffix_of
from azaion_engine.files.video_kind import HEAD_BYTES, is_video_head
from azaion_engine.files.videos import count_frames, read_frames
from azaion_engine.files.walking import Unreadable, files_in, files_matching, start_of
from azaion_engine.pictures.formats import sniff

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STDIN = "-"
_VIDEO = "video"
_NUMBERED = re.compile(r"(.*)_\d{6,}", re.DOTALL)
"""What frames of a video are called, without their suffix."""
PICTURE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".heic", ".heif", ".hif", ".jxl"),
    )
)
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp")
)


@dataclass(frozen=True)
class Source:
    """A picture file, a video, stdin, or a folder that cannot be read.

    Attributes:
        path: Path as given or found; `-` for stdin.
        name: Relative path for the outputs: relative to the given folder, else the file's name; no two sources of
            `find_sources` have the same.
        frames: Start of the names of a video's frames.
        unreadable: Why the folder `path` cannot be read; None for files.
    """

    path: str
    name: str
    frames: str = ""
    unreadable: str | None = None

    @cached_property
    def format(self) -> str | None:
        """`video`, or the name of a picture's format, by its first bytes; None where they do not tell."""
        if self.path == STDIN or self.unreadable is not None:
            return None
        head = _head(self.path)
        return _VIDEO if is_video_head(head) else sniff(head)

    @property
    def is_video(self) -> bool:
        """Whether it is a video: by its first bytes where they tell, else by its suffix."""
        if self.unreadable is not None or self.format is not None:
            return self.format == _VIDEO
        return suffix_of(self.path) in VIDEO_SUFFIXES

    def frame_name(self, index: int) -> str:
        """Returns the relative path of a frame, as a JPEG file."""
        name = PurePath(self.name)
        return str(name.with_name(f"{self.frames or name.stem}_{index:06d}.jpg"))


@dataclass(frozen=True)
class Item:
    """One picture to run the detector on.

    Attributes:
        source: Path of its source.
        name: Relative path of the picture; frames of a video are numbered JPEG files.
        picture: Path of the file, encoded bytes, uint8 RGB pixels `[height, width, 3]`, or an error.
        frame: Index in the video, from 0; None for a picture.
        time_s: Time stamp of a frame, in seconds; None for a picture.
        stream: Index of a live stream among those given; None for pictures and videos.
        clock_s: When a live frame came, in seconds since 1970-01-01 UTC; None for pictures and videos.
    """

    source: str
    name: str
    picture: Path | bytes | NDArray[np.uint8] | PictureError
    frame: int | None = None
    time_s: float | None = None
    stream: int | None = None
    clock_s: float | None = None

    def load(self, max_bytes: int | None = None) -> bytes | NDArray[np.uint8]:
        """Returns encoded bytes or pixels.

        Args:
            max_bytes: Bytes above which a file is not read.

        Raises:
            PictureError: `picture` is an error, or the file cannot be read or is too large.
        """
        if isinstance(self.picture, PictureError):
            raise self.picture
        if not isinstance(self.picture, Path):
            return self.picture
        try:
            with self.picture.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if max_bytes is not None and size > max_bytes:
                    raise PictureTooLargeError(f"the picture has {size} bytes, at most {max_bytes} are accepted")
                return file.read()
        except OSError as error:
            raise PictureError(f"cannot be read: {reason(error)}") from error


def find_sources(given: list[str], *, recursive: bool) -> list[Source]:
    """Finds the pictures and videos of files, folders, glob patterns and `-`; each once, in a stable order.

    Folders that cannot be read are sources too, whose item is an error.

    Raises:
        InvalidParameterError: An argument is empty or matches no picture or video.
    """
    found: dict[str, Source] = {}
    for text in given:
        if not text.strip():
            raise InvalidParameterError(f"expected a path, a pattern or -, given {text!r}")
        path = Path(os.path.expanduser(text))
        if text == STDIN:
            sources = [Source(STDIN, "stdin")]
        elif path.is_dir():
            sources = _in_folder(path, recursive)
        elif os.path.lexists(path):
            sources = [Source(str(path), path.name)]
        else:
            sources = [
                _unreadable(one) if isinstance(one, Unreadable) else Source(one, os.path.basename(one))
                for one in files_matching(str(path))
            ]
        if not sources:
            raise InvalidParameterError(f"no picture or video: {quote(text)}")
        for source in sources:
            found.setdefault(source.path if source.path == STDIN else os.path.abspath(source.path), source)
    return told_apart(list(found.values()))


def _in_folder(folder: Path, recursive: bool) -> list[Source]:
    start = start_of(folder)
    return [
        _unreadable(one) if isinstance(one, Unreadable) else Source(one, one.removeprefix(start).replace(os.sep, "/"))
        for one in files_in(folder, recursive=recursive)
        if isinstance(one, Unreadable) or _looks_known(one)
    ]


def _unreadable(found: Unreadable) -> Source:
    return Source(str(found.path), str(found.path), unreadable=found.why)


def _looks_known(file: str) -> bool:
    """Whether a file in a folder is a picture or a video by its suffix; without one, by its first bytes."""
    if suffix := suffix_of(file):
        return suffix in PICTURE_SUFFIXES or suffix in VIDEO_SUFFIXES
    head = _head(file)
    return sniff(head) is not None or is_video_head(head)


def _head(path: str) -> bytes:
    """Returns a file's first bytes, none where it cannot be read or is no plain file: a pipe's would be lost."""
    if not os.path.isfile(path):
        return b""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def told_apart(sources: list[Source]) -> list[Source]:
    """Returns the sources, each with a name of its own, and with a start of its frames' names that is no other's.

    Where two have the same name, as `1.jpg` of two folders, all names are relative to the folder that all lie in.
    Frames begin as their video without its suffix, or with it where another source has that name, or is called as a
    frame would be.
    """
    files = [source for source in sources if source.unreadable is None and source.path != STDIN]
    if _repeated(source.name for source in files):
        real = {source.path: os.path.abspath(source.path) for source in files}
        common = os.path.commonpath([os.path.dirname(path) for path in real.values()])
        names = {path: Path(os.path.relpath(at, common)).as_posix() for path, at in real.items()}
        sources = [replace(source, name=names.get(source.path, source.name)) for source in sources]
    stems = [_stem(source.name) for source in sources]
    numbered = {found[1] for stem in stems if (found := _NUMBERED.fullmatch(stem))}
    repeated = _repeated(stems)
    taken = {*stems, *numbered}
    apart = []
    for source, stem in zip(sources, stems, strict=True):
        if source.unreadable is None and (stem in repeated or stem in numbered):
            start = os.path.normpath(source.name)
            while start in taken:
                start += "_"
            taken.add(start)
            source = replace(source, frames=os.path.basename(start))
        apart.append(source)
    return apart


def _stem(name: str) -> str:
    whole = os.path.normpath(name)
    return whole[: len(whole) - len(suffix_of(whole))]


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, times in Counter(names).items() if times > 1}


def pictures_of(source: Source, every: int, max_bytes: int | None = None) -> Iterator[Item]:
    """Yields the picture of a file, or every n-th frame of a video; if a video fails, the last item has the error.

    Args:
        source: As `find_sources` returns it.
        every: n.
        max_bytes: Bytes above which stdin, a pipe or a device is not read on: some never end.
    """
    if source.unreadable is not None:
        yield Item(source.path, source.name, PictureError(f"the folder cannot be read: {source.unreadable}"))
    elif source.is_video:
        try:
            for frame in read_frames(source.path, every):
                name = source.frame_name(frame.index)
                yield Item(source.path, name, frame.pixels, frame=frame.index, time_s=frame.time_s)
        except PictureError as error:
            yield Item(source.path, source.name, error)
    elif source.path == STDIN or is_read_once(source.path):
        yield Item(source.path, source.name, _read_once(source.path, max_bytes))
    else:
        yield Item(source.path, source.name, Path(source.path))


def is_read_once(path: str) -> bool:
    """Returns whether a path is a pipe, a device or a socket: what one reader takes, the next does not get."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _read_once(path: str, max_bytes: int | None) -> bytes | PictureError:
    most = -1 if max_bytes is None else max_bytes + 1
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as file:
            data = file.read(most)
    except OSError as error:
        return PictureError(f"cannot be read: {reason(error)}")
    if max_bytes is not None and len(data) > max_bytes:
        return PictureTooLargeError(f"the picture has more than {max_bytes} bytes, which is the limit")
    return data


def count_pictures(source: Source, every: int) -> int:
    """Returns the number of pictures in a source; for a video the header's value, 0 where it has none."""
    return -(-count_frames(source.path) // every) if source.is_video else 1
