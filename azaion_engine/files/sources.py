"""Source: an input of `azaion detect`, and the pictures in it."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from azaion_engine.errors import InvalidParameterError, PictureError, UndecodablePictureError, reason

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STDIN = "-"
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
    """A picture file, a video, or stdin.

    Attributes:
        path: Path as given or found; `-` for stdin.
        name: Relative path for the outputs: relative to the given folder, else the file's name.
    """

    path: str
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video, by its suffix."""
        return Path(self.path).suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Item:
    """One picture to run the detector on.

    Attributes:
        source: Path of its source.
        name: Relative path of the picture; frames of a video are numbered JPEG files.
        picture: Path of the file, encoded bytes, uint8 RGB pixels `[height, width, 3]`, or an error.
        frame: Index in the video, from 0; None for a picture.
        time_s: Seconds from the video's start; None for a picture.
    """

    source: str
    name: str
    picture: Path | bytes | NDArray[np.uint8] | PictureError
    frame: int | None = None
    time_s: float | None = None

    def load(self) -> bytes | NDArray[np.uint8]:
        """Returns encoded bytes or pixels.

        Raises:
            PictureError: `picture` is an error, or the file cannot be read.
        """
        if isinstance(self.picture, PictureError):
            raise self.picture
        if not isinstance(self.picture, Path):
            return self.picture
        try:
            return self.picture.read_bytes()
        except OSError as error:
            raise PictureError(f"cannot be read: {reason(error)}") from error


def find_sources(given: list[str], *, recursive: bool) -> list[Source]:
    """Finds the pictures and videos of files, folders, glob patterns and `-`; each once, in a stable order.

    Raises:
        InvalidParameterError: An argument matches no picture or video.
    """
    found: dict[str, Source] = {}
    for text in given:
        path = Path(text).expanduser()
        if text == STDIN:
            sources = [Source(STDIN, "stdin")]
        elif path.is_dir():
            sources = _in_folder(path, recursive)
        elif path.exists():
            sources = [Source(str(path), path.name)]
        else:
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
            sources = [Source(str(match), match.name) for match in matches if match.is_file()]
        if not sources:
            raise InvalidParameterError(f"no picture or video: {text!r}")
        found.update((source.path, source) for source in sources)
    return list(found.values())


def _in_folder(folder: Path, recursive: bool) -> list[Source]:
    known = PICTURE_SUFFIXES | VIDEO_SUFFIXES
    files = sorted(folder.rglob("*") if recursive else folder.iterdir())
    return [
        Source(str(file), file.relative_to(folder).as_posix())
        for file in files
        if file.suffix.lower() in known and file.is_file()
    ]


def pictures_of(source: Source, every: int) -> Iterator[Item]:
    """Yields the picture of a file, or every n-th frame of a video; if a video fails, the last item has the error."""
    if source.is_video:
        try:
            yield from _frames(source, every)
        except PictureError as error:
            yield Item(source.path, source.name, error)
    elif source.path == STDIN:
        yield Item(STDIN, source.name, sys.stdin.buffer.read())
    else:
        yield Item(source.path, source.name, Path(source.path))


def count_pictures(source: Source, every: int) -> int:
    """Returns the number of pictures in a source; for a video the header's value, 0 where it has none."""
    if not source.is_video:
        return 1
    import cv2

    capture = cv2.VideoCapture(source.path)
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return -(-max(frames, 0) // every)


def _frames(source: Source, every: int) -> Iterator[Item]:
    import cv2

    capture = cv2.VideoCapture(source.path)
    try:
        if not capture.isOpened():
            raise UndecodablePictureError("OpenCV cannot open this video")
        rate = capture.get(cv2.CAP_PROP_FPS)
        index = 0
        while capture.grab():  # where the codec allows it, skipped frames are not decoded
            if index % every == 0:
                read, frame = capture.retrieve()
                if not read:
                    raise UndecodablePictureError(f"frame {index} cannot be decoded")
                name = PurePath(source.name)
                yield Item(
                    source=source.path,
                    name=str(name.with_name(f"{name.stem}_{index:06d}.jpg")),
                    picture=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB),
                    frame=index,
                    time_s=round(index / rate, 3) if rate > 0 else None,
                )
            index += 1
        if index == 0:
            raise UndecodablePictureError("the video has no frame that OpenCV can read")
    finally:
        capture.release()
