"""Entry: one source of a job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from azaion_batch.storage import LOCAL, Place, without_secrets
from azaion_engine.errors import InvalidParameterError, PictureError, reason
from azaion_engine.files.names import printable

Kind = Literal["picture", "video", "tiled", "windows", "row", "unreadable"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One source of a job.

    Attributes:
        kind: `picture`, `video`, `tiled` (a scene, whose windows are rows), `windows` (a share of these), `row` (of a
            Parquet file with the pictures' bytes), or `unreadable` (a folder, or what names nothing).
        source: What names it in the results: path or address; that of a row ends with `#` and its number.
        place: The file.
        name: Relative path for outputs.
        size: Encoded size in bytes of a picture, as far as it is known without reading it; else 0.
        row: Number of the row in a Parquet file; of a share among those of its scene.
        column: Column in that file.
        why: Why an `unreadable` one cannot be read.
        shares: Number of shares that the windows of this one's scene are cut into; 0 for others.
    """

    kind: Kind
    source: str
    place: Place
    name: str
    size: int = 0
    row: int = 0
    column: str = ""
    why: str = ""
    shares: int = 0

    @property
    def identity(self) -> str:
        """Its exact address, by which it is known; `source` is the same as a text that every output can hold.

        An entry that could not be read differs from what is there later, and a row from its file.
        """
        if self.kind != "unreadable":
            return f"{self.place.address}#{self.row}"
        return f"{self.place.address}#{f'{self.row} ' if self.column else ''}unreadable"

    @property
    def is_on_disk(self) -> bool:
        """Whether it is a picture on a disk, which every process of the job can read."""
        return self.kind == "picture" and self.place.is_local

    def read(self, most_bytes: int) -> bytes:
        """Returns the encoded picture of a `picture`.

        Raises:
            PictureError: It cannot be read, or has more than `most_bytes`.
        """
        try:
            return self.place.read(most_bytes)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise PictureError(f"cannot be read: {reason(error)}") from error

    def to_json(self) -> list[Any]:
        """Returns it as a JSON-ready list."""
        place = self.place
        values = [self.kind, self.source, place.root, place.path, self.name, self.size, self.row, self.column, self.why]
        return [*values, self.shares] if self.shares else values

    @classmethod
    def from_json(cls, values: list[Any]) -> Entry:
        """Makes it of what `to_json` returned."""
        kind, source, root, path, *others = values
        return cls(kind, source, Place(root, path), *others)


def or_unreadable(text: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yields the entries of one of many sources; if it cannot be read, one that says so: the others are not lost."""
    try:
        yield from entries
    except (InvalidParameterError, OSError, ValueError) as error:
        why = str(error) if isinstance(error, InvalidParameterError) else f"cannot be read: {reason(error)}"
        shown = without_secrets(printable(text))
        yield Entry("unreadable", shown, Place(LOCAL, text), shown, why=why)
