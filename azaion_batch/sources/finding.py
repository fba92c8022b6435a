"""Finding: the entries that the arguments of a job name."""

from __future__ import annotations

import os
import posixpath
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from glob import escape, has_magic
from itertools import groupby
from pathlib import Path, PurePosixPath

from azaion_batch.sources.entry import Entry, or_unreadable
from azaion_batch.sources.files import Search, file_entry, place_beside, unseen_entry
from azaion_batch.sources.patterns import has_pattern, matching
from azaion_batch.sources.tables import PARQUET_SUFFIX, rows_of
from azaion_batch.storage import LOCAL, Place, is_remote, without_secrets
from azaion_engine.errors import InvalidParameterError, quote
from azaion_engine.files.names import suffix_of
from azaion_engine.files.sources import PICTURE_SUFFIXES, STDIN, VIDEO_SUFFIXES, find_sources

LIST_SUFFIXES = frozenset((".txt", ".lst"))
"""Suffixes of files that list sources, one a line."""


def find_entries(given: list[str], how: Search) -> Iterator[Entry]:
    """Yields the entries of all arguments, in order; one that is named twice comes once.

    Args:
        given: Files, folders, patterns, lists, Parquet files, and addresses in buckets of any of these.
        how: How to look.

    Raises:
        InvalidParameterError: An argument is empty or matches nothing, or two servers have a bucket of one name.
        OSError: A list or a bucket cannot be read.
    """
    seen: set[str] = set()
    places: dict[str, Place] = {}
    for plain, texts in groupby(given, _is_plain):  # names of one group are told apart
        for entry in _plain(list(texts), how) if plain else _each(texts, how):
            if not plain:
                _check_server(entry.place, places)
            if entry.identity not in seen:
                seen.add(entry.identity)
                yield entry


def _check_server(place: Place, places: dict[str, Place]) -> None:
    """Refuses a bucket that two servers have: results tell an object by bucket and key, and would lack one of two.

    Args:
        place: An entry's.
        places: One of each root before, by the root.
    """
    if place.is_local or place.root in places:
        return
    bucket = place.root.partition("?")[0]
    for other in places.values():
        if other.root.partition("?")[0] == bucket and other.server != place.server:
            raise InvalidParameterError(
                f"{bucket}: expected one server's bucket in a run, given two of that name; name another folder for the "
                "results of the other one"
            )
    places[place.root] = place


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
        if source.unreadable is None and suffix_of(source.path) == PARQUET_SUFFIX:  # of a pattern
            yield from or_unreadable(source.path, _special(source.path, how))
        else:
            yield file_entry(source, how)


def _each(texts: Iterable[str], how: Search) -> Iterator[Entry]:
    for text in texts:
        yield from _some(text, _special(text, how))


def _some(text: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yields the entries of a source; raises InvalidParameterError if there is none."""
    empty = True
    for entry in entries:
        empty = False
        yield entry
    if empty:
        raise InvalidParameterError(f"no picture or video: {quote(without_secrets(text))}")


def _special(text: str, how: Search, within: tuple[Place, ...] = ()) -> Iterator[Entry]:
    """Yields the entries of an address, or of Parquet files or lists; `within` are the lists that name it."""
    if is_remote(text):
        yield from _in_bucket(Place.of(text), how, within)
    elif has_magic(text) and not os.path.lexists(os.path.expanduser(text)):
        for source in find_sources([text], recursive=False):
            if source.unreadable is None:
                yield from or_unreadable(source.path, _special(source.path, how, within))
            else:
                yield file_entry(source, how)
    elif Path(text).suffix.lower() == PARQUET_SUFFIX:
        place = Place.of(text)
        if os.path.isdir(place.path):  # as Spark and pandas write a table in parts
            for file in place.files():
                below = file.path.removeprefix(f"{place.path}/")
                if suffix_of(below) == PARQUET_SUFFIX and not _is_unfinished(below):
                    yield from or_unreadable(file.path, rows_of(Place(place.root, file.path), how))
        else:
            yield from rows_of(place, how)
    else:
        yield from _listed(Place.of(text), how, within)


def _in_bucket(place: Place, how: Search, within: tuple[Place, ...] = (), folder: str = "") -> Iterator[Entry]:
    """Yields the entries of a file, of all below a prefix, or, if neither has that very name, of a pattern.

    Args:
        place: The file, prefix or pattern.
        how: How to look.
        within: The lists that name it.
        folder: Start of its path that is no pattern.
    """
    if place.path and place.is_file():
        suffix = suffix_of(place.path)
        if suffix in LIST_SUFFIXES:
            yield from _listed(place, how, within)
        elif suffix == PARQUET_SUFFIX:
            yield from rows_of(place, how)
        else:
            yield unseen_entry(place, place.size(), PurePosixPath(place.path).name, how)
        return
    files, start = list(place.files()), f"{place.path}/" if place.path else ""
    by_pattern = not files and has_pattern(place.path.removeprefix(f"{folder}/"))
    for file in matching(place, folder) if by_pattern else files:
        at = Place(place.root, file.path)
        suffix = suffix_of(file.path)
        if suffix == PARQUET_SUFFIX:
            is_table = suffix_of(place.path) == PARQUET_SUFFIX and not by_pattern
            if is_table and _is_unfinished(file.path.removeprefix(start)):
                continue
            yield from or_unreadable(at.address, rows_of(at, how))
        elif by_pattern and suffix in LIST_SUFFIXES and suffix_of(place.path) == suffix:
            yield from or_unreadable(at.address, _listed(at, how, within))
        elif by_pattern or suffix in PICTURE_SUFFIXES or suffix in VIDEO_SUFFIXES:
            yield unseen_entry(at, file.size, file.path.removeprefix(start), how)


def _is_unfinished(below: str) -> bool:
    """Returns whether a file in a folder of Parquet files is not one of the table, such as `_temporary/…` of Spark.

    All readers of such folders leave out names that begin with `_` or `.`.

    Args:
        below: Path in the folder.
    """
    return any(part.startswith(("_", ".")) for part in below.split("/"))


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
        if one and not one.startswith("#"):
            yield from _line(one, place, how, (*within, place))


def _line(line: str, beside: Place, how: Search, within: tuple[Place, ...]) -> Iterator[Entry]:
    """Yields the entries of a line of the list `beside`, at least one: it may say that the line names nothing."""
    text = os.path.expanduser(line)
    if is_remote(text):
        shown, entries = text, _special(text, how, within)
    elif beside.is_local or os.path.isabs(text):
        folder = os.path.dirname(beside.path)
        shown = path = os.path.join(folder, text)
        if not os.path.lexists(path):
            if not has_magic(text):
                place = Place(LOCAL, os.path.normpath(path))
                yield unseen_entry(place, 0, os.path.basename(place.path), how)  # its row will say that it is not there
                return
            path = os.path.join(escape(folder), text)
        entries = _plain([path], how) if _is_plain(path) else _special(path, how, within)
    else:
        shown = f"{posixpath.dirname(beside.address)}/{text}".rstrip("/")
        entries = _beside_in_bucket(text, beside, how, within)
    yield from or_unreadable(shown, _some(shown, entries))


def _beside_in_bucket(text: str, beside: Place, how: Search, within: tuple[Place, ...]) -> Iterator[Entry]:
    """Yields the entries of a relative line of a list in a bucket."""
    place, folder = place_beside(text, beside), posixpath.dirname(beside.path)
    while folder and not place.path.startswith(f"{folder}/"):  # the line has `..`
        folder = posixpath.dirname(folder)
    yield from _in_bucket(place, how, within, folder)
