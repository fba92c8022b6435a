"""Finding: the entries that the arguments of a job name."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import has_magic
from itertools import groupby
from pathlib import Path, PurePosixPath

from azaion_batch.sources.entry import Entry, named_entry, or_unreadable
from azaion_batch.sources.tables import PARQUET_SUFFIX, rows_of
from azaion_batch.storage import LOCAL, Listed, Place, has_pattern, is_remote, matching
from azaion_engine.errors import InvalidParameterError, quote
from azaion_engine.files.names import printable, suffix_of
from azaion_engine.files.sources import (
    PICTURE_SUFFIXES,
    STDIN,
    VIDEO_SUFFIXES,
    Source,
    find_sources,
    is_read_once,
)
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.files import SceneWishes, in_windows

LIST_SUFFIXES = frozenset((".txt", ".lst"))
"""Suffixes of files that list sources, one a line."""
_TIFF_SUFFIXES = frozenset((".tif", ".tiff"))


@dataclass(frozen=True)
class Search:
    """How sources are looked for.

    Attributes:
        recursive: Whether to look into folders of local folders; all of a bucket's prefix is always taken.
        scenes: Wishes for TIFFs, which are then read in windows.
        limits: Largest pictures; TIFFs above them are read in windows.
    """

    recursive: bool = False
    scenes: SceneWishes = SceneWishes()  # noqa: RUF009 (frozen)
    limits: PictureLimits = PictureLimits()  # noqa: RUF009 (frozen)

    def in_windows(self, path: str) -> bool:
        """Returns whether a local file is read in windows."""
        is_tiff = suffix_of(path) in _TIFF_SUFFIXES
        return is_tiff and in_windows(Path(path), self.scenes, self.limits)

    def object_in_windows(self, path: str, size: int) -> bool:
        """Returns whether an object in a bucket is read in windows; its pixels are not known."""
        is_tiff = suffix_of(path) in _TIFF_SUFFIXES
        return is_tiff and (self.scenes.given or size > self.limits.max_bytes)


def find_entries(given: list[str], how: Search) -> Iterator[Entry]:
    """Yields the entries of all arguments, in order; one that is named twice comes once.

    Args:
        given: Files, folders, patterns, lists, Parquet files, and addresses in buckets of any of these.
        how: How to look.

    Raises:
        InvalidParameterError: An argument is empty or matches nothing.
        OSError: A list or a bucket cannot be read.
    """
    seen: set[str] = set()
    for plain, texts in groupby(given, _is_plain):  # names of one group are told apart
        for entry in _plain(list(texts), how) if plain else _each(texts, how):
            if entry.identity not in seen:
                seen.add(entry.identity)
                yield entry


def _is_plain(text: str) -> bool:
    """Returns whether an argument is a local file, folder or pattern of pictures and videos."""
    suffix = Path(text).suffix.lower()
    if is_remote(text):
        return False
    return suffix not in (PARQUET_SUFFIX, *LIST_SUFFIXES) or (suffix in LIST_SUFFIXES and os.path.isdir(text))


def _plain(texts: list[str], how: Search) -> Iterator[Entry]:
    if STDIN in texts:
        raise InvalidParameterError("expected a path, a pattern, a list or an address, given '-'")
    for source in find_sources(texts, recursive=how.recursive):
        yield _local(source, how)


def _each(texts: Iterable[str], how: Search) -> Iterator[Entry]:
    for text in texts:
        empty = True
        for entry in _special(text, how):
            empty = False
            yield entry
        if empty:
            raise InvalidParameterError(f"no picture or video: {quote(text)}")


def _special(text: str, how: Search, within: tuple[Place, ...] = ()) -> Iterator[Entry]:
    """Yields the entries of an address, a Parquet file or a list; `within` are the lists that name it."""
    if is_remote(text):
        yield from _in_bucket(Place.of(text), how, within)
    elif Path(text).suffix.lower() == PARQUET_SUFFIX:
        place = Place.of(text)
        if os.path.isdir(place.path):  # as Spark and pandas write a table in parts
            for file in place.files():
                if file.path.lower().endswith(PARQUET_SUFFIX):
                    yield from rows_of(Place(place.root, file.path))
        else:
            yield from rows_of(place)
    else:
        yield from _listed(Place.of(text), how, within)


def _local(source: Source, how: Search) -> Entry:
    place = Place(LOCAL, os.path.abspath(source.path))
    named, name = printable(place.path), printable(source.name)
    if source.unreadable is not None:
        return Entry("unreadable", named, place, name, why=f"the folder cannot be read: {source.unreadable}")
    if source.is_video:
        return Entry("video", named, place, name)
    if is_read_once(source.path):  # a pipe's other end may be of this shell only, and a device may have none
        return Entry("unreadable", named, place, name, why="expected a file, given a device, pipe or socket")
    if how.in_windows(source.path):
        return Entry("tiled", named, place, name)
    try:
        size = os.path.getsize(source.path)
    except OSError:  # its row will say why
        size = 0
    return Entry("picture", named, place, name, size)


def _in_bucket(place: Place, how: Search, within: tuple[Place, ...] = ()) -> Iterator[Entry]:
    if not has_pattern(place) and place.path and place.is_file():
        suffix = suffix_of(place.path)
        if suffix in LIST_SUFFIXES:
            yield from _listed(place, how, within)
        elif suffix == PARQUET_SUFFIX:
            yield from rows_of(place)
        else:
            yield _remote(place, Listed(place.path, place.size()), PurePosixPath(place.path).name, how)
        return
    start = f"{place.path}/" if place.path and not has_pattern(place) else ""
    for file in matching(place) if has_pattern(place) else place.files():
        at = Place(place.root, file.path)
        suffix = suffix_of(file.path)
        if suffix == PARQUET_SUFFIX:
            yield from or_unreadable(at.address, rows_of(at))
        elif has_pattern(place) or suffix in PICTURE_SUFFIXES or suffix in VIDEO_SUFFIXES:
            yield _remote(at, file, file.path.removeprefix(start), how)


def _remote(at: Place, file: Listed, name: str, how: Search) -> Entry:
    """Returns the entry of a file in a bucket, whose kind is that of its suffix: a look inside would be a request."""
    if suffix_of(file.path) in VIDEO_SUFFIXES:
        return Entry("video", at.address, at, name)
    if how.object_in_windows(file.path, file.size):
        return Entry("tiled", at.address, at, name)
    return Entry("picture", at.address, at, name, file.size)


def _listed(place: Place, how: Search, within: tuple[Place, ...] = ()) -> Iterator[Entry]:
    """Yields the entries of a list: a source a line; relative paths are relative to the list; `#` begins a comment.

    Raises:
        InvalidParameterError: It is no text, or is within itself.
        OSError: It cannot be read.
    """
    if place in within:
        raise InvalidParameterError(f"{quote(place.address)} is a list that names itself")
    data = place.read()
    if b"\0" in data:
        raise InvalidParameterError(f"{quote(place.address)}: expected a list in UTF-8, given other bytes")
    for line in os.fsdecode(data.removeprefix(BOM_UTF8)).split("\n"):
        one = line.strip()
        if not one or one.startswith("#"):
            continue
        if not is_remote(one) and not os.path.isabs(os.path.expanduser(one)):
            folder = Place(place.root, str(PurePosixPath(place.path).parent))
            one = (folder / one).path if place.is_local else _with_options(folder / one)
        if not is_remote(one) and not os.path.lexists(os.path.expanduser(one)) and not has_magic(one):
            yield named_entry(one, place)  # its row will say that there is no such file
        else:
            some = _plain([one], how) if _is_plain(one) else _special(one, how, (*within, place))
            yield from or_unreadable(one, some)


def _with_options(place: Place) -> str:
    address, _, options = place.root.partition("?")
    return f"{address}/{place.path}" + (f"?{options}" if options else "")
