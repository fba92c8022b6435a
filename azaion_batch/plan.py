"""Plan: which sources make a part, kept beside the parts, so that every run cuts the archive alike.

A part's name is a hash of its sources and of the settings' key. A worker that dies after it wrote a part, or one of a
job that was killed and still runs, can only write the same part under the same name once more. A chunk of a later run
replaces the one with its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from azaion_batch.settings import RunSettings, key_of
from azaion_batch.sources.entry import Entry, Kind
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError, quote

PLANS = "plan"
"""Folder of the plans in a job's output."""
PARTS = "parts"
"""Folder of the parts."""
WINDOWS = "windows"
"""Folder of the parts with the rows of scenes' windows; the merged scenes go to `PARTS`."""

SUFFIX = ".parquet"
"""Of the parts' files."""

_NAME = re.compile("[0-9a-f]{32}")
_NUMBER = re.compile("-([0-9]+)-")
_ALONE = ("video", "tiled")
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
    def identities(self) -> set[str]:
        """What its entries are known by."""
        return {entry.identity for entry in self.entries}

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


class Plan:
    """The chunks of all runs with one key.

    Attributes:
        chunks: By name, in the order of the runs.
    """

    def __init__(self, out: Place, key: str, run: RunSettings, shares: Callable[[Entry], list[Entry]]) -> None:
        """Reads the plans of earlier runs.

        Args:
            out: The job's output.
            key: Of the settings.
            run: How large parts may be.
            shares: Returns the shares of a `tiled` scene's windows.

        Raises:
            OSError: A plan cannot be read.
            ConfigurationError: One is damaged, or gives one name to two parts.
        """
        self._out, self._key, self._run, self._shares = out, key, run, shares
        self.chunks: dict[str, Chunk] = {}
        for file in (out / PLANS).files(recursive=False):
            if file.path.rpartition("/")[2].startswith(f"{key}-"):
                self._read(Place(out.root, file.path))

    def _read(self, place: Place) -> None:
        try:
            chunks = [Chunk.from_line(line) for line in place.read().decode().splitlines()]
        except (ValueError, KeyError, TypeError) as error:
            # Without it the sources would be cut anew, and might have rows in two parts.
            raise ConfigurationError(
                f"{place.address} is damaged: {error}; restore it, or name another folder for the results"
            ) from error
        for chunk in chunks:
            # Plans of older releases have whole scenes, for one worker each: planned anew, under the same names.
            if str(chunk.kind) == "scene":
                continue
            if (earlier := self.chunks.get(chunk.id)) is not None:
                first, second = ({entry.place.address for entry in one.entries} for one in (earlier, chunk))
                if first.isdisjoint(second):  # of an older release: nobody knows whose rows the part has
                    raise ConfigurationError(
                        f"{place.address} has one part for {quote(min(first))} and {quote(min(second))}, which are "
                        "printed alike: name another folder for the results"
                    )
            self._add(chunk)

    def extend(self, wanted: Mapping[str, Entry]) -> None:
        """Cuts the entries that no chunk has yet into chunks.

        Args:
            wanted: The entries of this run, by their identity.

        Raises:
            OSError: The plan cannot be written.
        """
        known = {entry.identity for chunk in self.chunks.values() for entry in chunk.entries}
        scenes: list[Entry] = []
        made = list(self._cut((entry for identity, entry in wanted.items() if identity not in known), scenes))
        self._keep([*made, *self._cut_scenes(scenes, {})])

    def amend(self, changed: Mapping[str, Entry]) -> None:
        """Replaces entries that are not any more what they were when they were planned.

        A video or a scene leaves the others of its chunk for one of its own. Their part is removed before the plan says
        so, lest its row be there twice if the run ends now: a part that is missing is done by the next one.

        Args:
            changed: The entries as they are now, by their identity; scenes among them are cut into shares anew.

        Raises:
            OSError: The plan cannot be written.
        """
        made: list[Chunk] = []
        scenes: list[Entry] = []
        names: dict[str, str] = {}
        for chunk in list(self.chunks.values()):
            if chunk.kind == "windows" or changed.keys().isdisjoint(chunk.identities):
                continue
            entries = [changed.get(entry.identity, entry) for entry in chunk.entries]
            alone = [entry for entry in entries if entry.kind in _ALONE]
            together = [entry for entry in entries if entry.kind not in _ALONE]
            if alone and len(entries) > 1:
                place_of(self._out, chunk.id).remove()
            if together:
                made.append(self._add(Chunk(chunk.id, tuple(together))))
            else:
                names[alone[0].identity] = chunk.id
            for entry in alone:
                if entry.kind == "tiled":
                    scenes.append(entry)
                else:
                    name = names.get(entry.identity) or self._name([entry])
                    made.append(self._add(Chunk(name, (entry,))))
        self._keep([*made, *self._cut_scenes(scenes, names)])

    def _keep(self, made: list[Chunk]) -> None:
        """Writes chunks to the output."""
        if not made:
            return
        text = "".join(f"{chunk.to_line()}\n" for chunk in made)
        # The number orders the runs; the hash tells two runs apart that write to a bucket at once.
        names = (file.path.rpartition("/")[2] for file in (self._out / PLANS).files(recursive=False))
        number = 1 + max((int(found[1]) for name in names if (found := _NUMBER.search(name))), default=-1)
        (self._out / PLANS / f"{self._key}-{number:06d}-{key_of(text)[:8]}.jsonl").write(text.encode())

    def _cut(self, entries: Iterable[Entry], scenes: list[Entry]) -> Iterator[Chunk]:
        """Yields the chunks of all entries but `tiled` scenes, which are appended to `scenes`."""
        held: list[Entry] = []
        size = 0
        for entry in entries:
            if entry.kind == "tiled":
                scenes.append(entry)
                continue
            if entry.kind in _ALONE:
                yield self._chunk([entry])
                continue
            if held and (len(held) == self._run.part_pictures or size + entry.size > self._run.part_bytes):
                yield self._chunk(held)
                held, size = [], 0
            held.append(entry)
            size += entry.size
        if held:
            yield self._chunk(held)

    def _cut_scenes(self, scenes: list[Entry], names: Mapping[str, str]) -> Iterator[Chunk]:
        """Yields chunks of windows, in which small scenes are together, and then one for each scene.

        Args:
            scenes: The scenes.
            names: Of the chunks that some of them have already, by identity.
        """
        homes: dict[str, list[str]] = {entry.place.address: [] for entry in scenes}
        for chunk in self._cut((share for entry in scenes for share in self._shares(entry)), []):
            for address in dict.fromkeys(entry.place.address for entry in chunk.entries):
                homes[address].append(chunk.id)
            yield chunk
        for entry in scenes:
            name = names.get(entry.identity) or self._name([entry])
            yield self._add(Chunk(name, (entry,), tuple(homes[entry.place.address])))

    def _chunk(self, entries: list[Entry]) -> Chunk:
        return self._add(Chunk(self._name(entries), tuple(entries)))

    def _name(self, entries: list[Entry]) -> str:
        """Returns the name of a new chunk."""
        name = key_of([self._key, *map(_told, entries)])
        while name in self.chunks and self.chunks[name].identities != {entry.identity for entry in entries}:
            name = key_of([name])  # older releases took what is printed for a name
        return name

    def _add(self, chunk: Chunk) -> Chunk:
        """Adds a chunk after all others, as a scene comes after its windows, and returns it."""
        self.chunks.pop(chunk.id, None)
        self.chunks[chunk.id] = chunk
        return chunk


def _told(entry: Entry) -> str | list[str]:
    """Returns what tells an entry from others: `source`, unless another may be printed alike."""
    can_be_exact = entry.kind != "unreadable"
    is_exact = can_be_exact and (entry.source == entry.place.address or entry.source == entry.identity)
    source = entry.source if is_exact else entry.identity
    told = f"{source} {entry.row} {entry.shares}" if entry.shares else source
    return told if is_exact else [told]


def place_of(out: Place, name: str, folder: str = PARTS) -> Place:
    """Returns the file of a part."""
    return out / folder / f"{name}{SUFFIX}"
