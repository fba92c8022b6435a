"""Plan: which sources make a part, kept beside the parts, so that every run cuts the archive alike.

A part's name is a hash of its sources and of the settings' key. A worker that dies after it wrote a part, or one of a
job that was killed and still runs, can only write the same part under the same name once more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from azaion_batch.settings import RunSettings, key_of
from azaion_batch.sources import Entry
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError

PLANS = "plan"
"""Folder of the plans in a job's output."""

_ALONE = ("video", "scene")
"""Kinds of sources that make a part each: they have many pictures."""


@dataclass(frozen=True)
class Chunk:
    """The sources of one part.

    Attributes:
        id: Name of the part, 32 hex digits.
        entries: The sources, in order.
    """

    id: str
    entries: tuple[Entry, ...]

    def to_line(self) -> str:
        """Returns it as a line of JSON in ASCII: file names that are not UTF-8 stay what they are."""
        return json.dumps({"id": self.id, "entries": [entry.to_json() for entry in self.entries]})

    @classmethod
    def from_line(cls, line: str) -> Chunk:
        """Makes it of what `to_line` returned."""
        values = json.loads(line)
        return cls(values["id"], tuple(Entry.from_json(one) for one in values["entries"]))


def planned(out: Place, key: str) -> list[Chunk]:
    """Returns the chunks of all earlier runs with this key, in their order.

    Raises:
        OSError: The plans cannot be read.
        ConfigurationError: One is damaged.
    """
    chunks: list[Chunk] = []
    for file in (out / PLANS).files(recursive=False):
        if file.path.rpartition("/")[2].startswith(f"{key}-"):
            place = Place(out.root, file.path)
            try:
                chunks += [Chunk.from_line(line) for line in place.read().decode().splitlines()]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(f"{place.address} is damaged: {error}; remove it and run again") from error
    return chunks


def extend(out: Place, key: str, chunks: list[Chunk], entries: Iterable[Entry], run: RunSettings) -> list[Chunk]:
    """Cuts the entries that no chunk has yet into chunks, keeps these in the output, and returns them.

    Args:
        out: The job's output.
        key: Of the settings.
        chunks: Those of earlier runs.
        entries: All sources of this run.
        run: How large parts may be.

    Raises:
        OSError: The plan cannot be written.
    """
    known = {entry.source for chunk in chunks for entry in chunk.entries}
    made = list(_cut(key, (entry for entry in entries if entry.source not in known), run))
    if made:
        text = "".join(f"{chunk.to_line()}\n" for chunk in made)
        # The number keeps the order of the runs; the hash, two runs at once in a bucket apart.
        number = sum(1 for _ in (out / PLANS).files(recursive=False))
        (out / PLANS / f"{key}-{number:06d}-{key_of(text)[:8]}.jsonl").write(text.encode())
    return made


def _cut(key: str, entries: Iterable[Entry], run: RunSettings) -> Iterator[Chunk]:
    held: list[Entry] = []
    size = 0
    for entry in entries:
        if entry.kind in _ALONE:
            yield _chunk(key, [entry])
            continue
        if held and (len(held) == run.part_pictures or size + entry.size > run.part_bytes):
            yield _chunk(key, held)
            held, size = [], 0
        held.append(entry)
        size += entry.size
    if held:
        yield _chunk(key, held)


def _chunk(key: str, entries: list[Entry]) -> Chunk:
    return Chunk(key_of([key, *(entry.source for entry in entries)]), tuple(entries))
