"""Plan: which sources make a part, kept beside the parts, so that every run cuts the archive alike.

A part's name is a hash of its sources and of the settings' key. A worker that dies after it wrote a part, or one of a
job that was killed and still runs, can only write the same part under the same name once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from azaion_batch.settings import RunSettings, key_of
from azaion_batch.sources.entry import Entry, Kind
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError

PLANS = "plan"
"""Folder of the plans in a job's output."""
PARTS = "parts"
"""Folder of the parts."""
WINDOWS = "windows"
"""Folder of the parts with the rows of scenes' windows; the merged scenes go to `PARTS`."""

_NAME = re.compile("[0-9a-f]{32}")
_ALONE = ("video",)
"""Kinds of sources that make a part each: they have many pictures."""


@dataclass(frozen=True)
class Chunk:
    """The sources of one part.

    Attributes:
        id: Name of the part, 32 hex digits.
        entries: The sources, in order, of one kind where that is `video`, `tiled` or `windows`.
        windows: Names of the chunks with the windows of a `tiled` scene.
    """

    id: str
    entries: tuple[Entry, ...]
    windows: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """Kind of the first entry."""
        return self.entries[0].kind

    @property
    def is_on_disk(self) -> bool:
        """Whether all of its entries are pictures on disks."""
        return all(entry.is_on_disk for entry in self.entries)

    @property
    def folder(self) -> str:
        """Folder of its part."""
        return WINDOWS if self.kind == "windows" else PARTS

    def to_line(self) -> str:
        """Returns it as a line of JSON in ASCII: file names that are not UTF-8 stay what they are."""
        values = {"id": self.id, "entries": [entry.to_json() for entry in self.entries]}
        return json.dumps({**values, "windows": self.windows} if self.windows else values)

    @classmethod
    def from_line(cls, line: str) -> Chunk:
        """Makes it of what `to_line` returned."""
        values = json.loads(line)
        if not all(_NAME.fullmatch(name) for name in (values["id"], *values.get("windows", ()))):
            raise ValueError(f"expected 32 hex digits, given {values['id']!r}")
        entries = tuple(Entry.from_json(one) for one in values["entries"])
        return cls(values["id"], entries, tuple(values.get("windows", ())))


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
    # Plans of older releases have whole scenes, for one worker each: they are planned anew, under the same names.
    return [chunk for chunk in chunks if str(chunk.kind) != "scene"]


def extend(
    out: Place,
    key: str,
    chunks: list[Chunk],
    entries: Iterable[Entry],
    run: RunSettings,
    shares: Callable[[Entry], list[Entry]],
) -> list[Chunk]:
    """Cuts the entries that no chunk has yet into chunks, keeps these in the output, and returns them.

    Args:
        out: The job's output.
        key: Of the settings.
        chunks: Those of earlier runs.
        entries: All sources of this run.
        run: How large parts may be.
        shares: Returns the shares of a `tiled` scene's windows.

    Raises:
        OSError: The plan cannot be written.
    """
    known = {entry.identity for chunk in chunks for entry in chunk.entries}
    scenes: list[Entry] = []
    made = list(_cut(key, (entry for entry in entries if entry.identity not in known), run, scenes))
    made += _cut_scenes(key, scenes, run, shares)
    if made:
        text = "".join(f"{chunk.to_line()}\n" for chunk in made)
        # The number orders the runs; the hash tells two runs apart that write to a bucket at once.
        number = sum(1 for _ in (out / PLANS).files(recursive=False))
        (out / PLANS / f"{key}-{number:06d}-{key_of(text)[:8]}.jsonl").write(text.encode())
    return made


def _cut(key: str, entries: Iterable[Entry], run: RunSettings, scenes: list[Entry]) -> Iterator[Chunk]:
    """Yields the chunks of all entries but `tiled` scenes, which are appended to `scenes`."""
    held: list[Entry] = []
    size = 0
    for entry in entries:
        if entry.kind == "tiled":
            scenes.append(entry)
            continue
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


def _cut_scenes(
    key: str, scenes: list[Entry], run: RunSettings, shares: Callable[[Entry], list[Entry]]
) -> Iterator[Chunk]:
    """Yields chunks of windows, in which small scenes are together, and then one for each scene."""
    homes: dict[str, list[str]] = {entry.source: [] for entry in scenes}
    for chunk in _cut(key, (share for entry in scenes for share in shares(entry)), run, []):
        for source in dict.fromkeys(entry.source for entry in chunk.entries):
            homes[source].append(chunk.id)
        yield chunk
    for entry in scenes:
        yield replace(_chunk(key, [entry]), windows=tuple(homes[entry.source]))


def _chunk(key: str, entries: list[Entry]) -> Chunk:
    names = [f"{entry.source} {entry.row} {entry.shares}" if entry.shares else entry.source for entry in entries]
    return Chunk(key_of([key, *names]), tuple(entries))
