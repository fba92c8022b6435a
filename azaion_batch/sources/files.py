"""Files: what kind of entry a file is: a picture, a video, or a scene that is read in windows."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from azaion_batch.sources.entry import Entry
from azaion_batch.storage import LOCAL, Place, is_remote
from azaion_engine.files.names import printable, suffix_of
from azaion_engine.files.sources import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Source, is_read_once
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.files import SceneWishes, in_windows

_TIFF = "TIFF"
_TIFF_SUFFIXES = frozenset((".tif", ".tiff"))
_UNASKED_BYTES = 2 << 20
"""What a picture in a bucket counts as that a table names: to ask for its size would be a request each, and a part of
256 cameras' pictures would not fit into memory."""


@dataclass(frozen=True)
class Search:
    """How sources are looked for.

    Attributes:
        recursive: Whether to look into folders of local folders; all of a bucket's prefix is always taken.
        scenes: Wishes for TIFFs, which are then read in windows; other pictures cannot follow them.
        limits: Largest pictures; TIFFs above them are read in windows.
    """

    recursive: bool = False
    scenes: SceneWishes = SceneWishes()  # noqa: RUF009 (frozen)
    limits: PictureLimits = PictureLimits()  # noqa: RUF009 (frozen)


def file_entry(source: Source, how: Search) -> Entry:
    """Returns the entry of a file on a disk, whose first bytes tell its kind."""
    place = Place(LOCAL, os.path.abspath(source.path))
    named, name = printable(place.path), printable(source.name)
    if source.unreadable is not None:
        return Entry("unreadable", named, place, name, why=f"the folder cannot be read: {source.unreadable}")
    if source.is_video:
        return Entry("video", named, place, name)
    if is_read_once(source.path):  # a pipe's other end may be of this shell only, and a device may have none
        return Entry("unreadable", named, place, name, why="expected a file, given a device, pipe or socket")
    if how.scenes.given and source.format not in (_TIFF, None):
        return Entry("unreadable", named, place, name, why=_no_scene(source.format))
    if (how.scenes.given or source.format == _TIFF) and in_windows(Path(source.path), how.scenes, how.limits):
        return Entry("tiled", named, place, name)
    try:
        size = os.path.getsize(source.path)
    except OSError:  # its row will say why
        size = 0
    return Entry("picture", named, place, name, size)


def unseen_entry(at: Place, size: int, name: str, how: Search) -> Entry:
    """Returns the entry of a file whose kind its suffix tells: in a bucket a look inside would be a request."""
    named, name, suffix = printable(at.address), printable(name), suffix_of(at.path)
    if suffix in VIDEO_SUFFIXES:
        return Entry("video", named, at, name)
    if how.scenes.given and suffix in PICTURE_SUFFIXES - _TIFF_SUFFIXES:
        return Entry("unreadable", named, at, name, why=_no_scene(suffix))
    if how.scenes.given or (suffix in _TIFF_SUFFIXES and size > how.limits.max_bytes):
        return Entry("tiled", named, at, name)
    return Entry("picture", named, at, name, size)


def named_entry(text: str, beside: Place, how: Search) -> Entry:
    """Returns the entry of a picture or video that a file names; if it is not there, its row will say so.

    Raises:
        InvalidParameterError: An address of no bucket.
    """
    place = place_beside(text, beside)
    if place.is_local and os.path.exists(place.path):
        return file_entry(Source(place.path, os.path.basename(place.path)), how)
    entry = unseen_entry(place, 0, PurePosixPath(place.path).name, how)  # above no limit
    return entry if place.is_local or entry.kind != "picture" else replace(entry, size=_UNASKED_BYTES)


def place_beside(text: str, beside: Place) -> Place:
    """Returns the place of a path or an address in a file: paths are relative to that file.

    Raises:
        InvalidParameterError: An address of no bucket.
    """
    if is_remote(text):
        return Place.of(text)
    folder = str(PurePosixPath(beside.path).parent)
    if beside.is_local:
        return Place(LOCAL, os.path.normpath(os.path.join(folder, os.path.expanduser(text))))
    return Place(beside.root, os.path.normpath(text if folder == "." else f"{folder}/{text}"))


def _no_scene(given: str | None) -> str:
    return f"expected a TIFF, since bands or lengths in metres are asked for, given {given}"
