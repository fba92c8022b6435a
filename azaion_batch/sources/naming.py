"""Naming: what pictures are called in a document."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from azaion_batch.sources.entry import Entry
from azaion_engine.files.names import printable
from azaion_engine.files.sources import Source, told_apart


def names_of(entries: Sequence[Entry]) -> dict[str, Source]:
    """Returns what names an entry's picture, or its frames, by the entry's identity; no two have the same name.

    They are called as `azaion detect` calls them, whatever arguments, lists and tables they come from: where two would
    be `1.jpg`, all names are relative to the folder that all lie in. A bucket is a folder named by its scheme.

    Args:
        entries: All sources of a run.
    """
    named = told_apart([Source(_path(one), one.name, unreadable=one.why or None) for one in entries])
    return {entry.identity: source for entry, source in zip(entries, named, strict=True)}


def _path(entry: Entry) -> str:
    """Returns a path that is no other entry's: rows of a table lie in it."""
    address = printable(entry.place.address)
    if not entry.place.is_local:
        address = f"/{address.replace('://', '/', 1)}"
    return posixpath.join(address, entry.name) if entry.column else address
