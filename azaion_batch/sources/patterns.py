"""Patterns: the files of a bucket that a pattern matches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import translate

from azaion_batch.storage import Listed, Place

_MAGIC = re.compile(r"[*?\[]")


def has_pattern(path: str) -> bool:
    """Returns whether a path in a bucket is a pattern."""
    return _MAGIC.search(path) is not None


def matching(place: Place, folder: str = "") -> Iterator[Listed]:
    """Yields the files of a bucket that a pattern matches, in order; `**` stands for any folders.

    Args:
        place: Its path is the pattern.
        folder: Start of its path that is no pattern, whatever signs it has.
    """
    fixed = folder.split("/") if folder else []
    parts = place.path.split("/")[len(fixed) :]
    patterns = [*map(re.escape, fixed), *(part if part == "**" else translate(part) for part in parts)]
    for part in parts[:-1]:
        if has_pattern(part):
            break
        fixed.append(part)
    for file in Place(place.root, "/".join(fixed)).files():
        if _fits(file.path.split("/"), patterns):
            yield file


def _fits(names: list[str], patterns: list[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return _fits(names, patterns[1:]) or (bool(names) and _fits(names[1:], patterns))
    return bool(names) and re.fullmatch(patterns[0], names[0]) is not None and _fits(names[1:], patterns[1:])
