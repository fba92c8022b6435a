"""Files of folders and of glob patterns: each once, whatever symbolic links lead to, and folders that refuse.

A link that leads nowhere is a file that cannot be read: left out, it would be lost without a word.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import translate
from functools import cache
from pathlib import Path
from re import compile as compile_pattern
from typing import NamedTuple

from azaion_engine.errors import reason


class Unreadable(NamedTuple):
    """A folder that cannot be read.

    Attributes:
        path: Its path.
        why: The system's reason.
    """

    path: Path
    why: str


def files_in(folder: Path, *, recursive: bool) -> Iterator[str | Unreadable]:
    """Yields the paths of a folder's files in their order, and the folders that cannot be read.

    Texts, not paths: an archive has millions of files, and one path takes as long as to look at a file.

    Args:
        folder: An existing folder.
        recursive: Whether to look into its folders too; symbolic links to folders are not followed.
    """
    entries = _entries(folder)
    if isinstance(entries, Unreadable):
        yield entries
        return
    start = start_of(folder)
    for entry in entries:
        if _is_folder(entry, follow=False):
            if recursive:
                yield from files_in(Path(entry.path), recursive=True)
        elif _is_file(entry):
            yield f"{start}{entry.name}"


def start_of(folder: Path) -> str:
    """Returns what the paths of a folder's files begin with."""
    return "" if folder == Path() else os.path.join(folder, "")


def files_matching(pattern: str) -> Iterator[str | Unreadable]:
    """Yields the files that a pattern of `glob` with `**` matches, and the folders that cannot be read.

    As `glob.glob`, names that begin with a dot match only a pattern that does too, and `**` follows symbolic links;
    but it enters each folder once, by its shortest path, where `glob` walks a loop of links forty times round.
    """
    root, *parts = Path(pattern).parts if os.path.isabs(pattern) else ("", *Path(pattern).parts)
    real_folder = cache(os.path.realpath)
    seen: set[str] = set()
    for found in _matches(root, parts):
        if isinstance(found, Unreadable):
            yield found
        elif os.path.isfile(found) or _leads_nowhere(found):
            # The folder's real path, not the file's: two links to one file are two pictures, as in a folder.
            folder, name = os.path.split(found)
            place = os.path.join(real_folder(folder), name)
            if place not in seen:
                seen.add(place)
                yield found


def _matches(base: str, parts: list[str]) -> Iterator[str | Unreadable]:
    if not parts:
        yield base
        return
    part, *rest = parts
    if part == "**":
        for folder in _folders_below(base):
            if isinstance(folder, Unreadable):
                yield folder
            else:
                yield from _matches(folder, rest or ["*"])
    elif not glob.has_magic(part):
        path = os.path.join(base, part)
        if os.path.lexists(path):
            yield from _matches(path, rest)
    else:
        entries = _entries(Path(base)) if os.path.isdir(base or ".") else []
        if isinstance(entries, Unreadable):
            yield entries
            return
        fits = _name_test(part)
        for entry in entries:
            if fits(entry.name) and (not rest or _is_folder(entry, follow=True)):
                yield from _matches(os.path.join(base, entry.name), rest)


def _folders_below(base: str) -> Iterator[str | Unreadable]:
    """Yields a folder and all below it, each once: real paths first, then those that links lead to."""
    seen: set[tuple[int, int]] = set()
    waiting = [base]
    while waiting:
        links: list[str] = []
        for start in waiting:
            yield from _real_folders(start, seen, links)
        waiting = links


def _real_folders(folder: str, seen: set[tuple[int, int]], links: list[str]) -> Iterator[str | Unreadable]:
    try:
        about = os.stat(folder or ".")
    except OSError:
        return
    if (about.st_dev, about.st_ino) in seen:
        return
    entries = _entries(Path(folder))
    seen.add((about.st_dev, about.st_ino))
    if isinstance(entries, Unreadable):
        yield entries
        return
    yield folder
    for entry in entries:
        if entry.name.startswith(".") or not _is_folder(entry, follow=True):
            continue
        path = os.path.join(folder, entry.name)
        if entry.is_symlink():
            links.append(path)
        else:
            yield from _real_folders(path, seen, links)


def _entries(folder: Path) -> list[os.DirEntry[str]] | Unreadable:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except NotADirectoryError:
        return []
    except OSError as error:
        return Unreadable(folder, reason(error))


def _is_folder(entry: os.DirEntry[str], *, follow: bool) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow)
    except OSError:  # e.g. a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        if entry.is_file():
            return True
    return entry.is_symlink() and _leads_nowhere(entry.path)


def _leads_nowhere(path: str) -> bool:
    """Returns whether a path is a link to what is not there, as for a file that was not fetched; its reader says so."""
    return os.path.islink(path) and not os.path.exists(path)


def _name_test(pattern: str) -> Callable[[str], bool]:
    matches = compile_pattern(translate(pattern)).match
    hidden = pattern.startswith(".")
    return lambda name: (hidden or not name.startswith(".")) and matches(name) is not None
