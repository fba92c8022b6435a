"""Sources: what the arguments of a job name, as entries: pictures, videos, scenes and rows of Parquet files."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import has_magic
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from azaion_batch.storage import LOCAL, Listed, Place, has_pattern, is_remote, matching, without_secrets
from azaion_engine.errors import InvalidParameterError, quote, reason
from azaion_engine.files.names import printable
from azaion_engine.files.sources import PICTURE_SUFFIXES, STDIN, VIDEO_SUFFIXES, Source, find_sources
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.files import SceneWishes, in_windows

Kind = Literal["picture", "video", "scene", "tiled", "windows", "row", "unreadable"]

LIST_SUFFIXES = frozenset((".txt", ".lst"))
"""Suffixes of files that list sources, one a line."""
PARQUET_SUFFIX = ".parquet"
NAMES_KEY = b"azaion_names"
"""Metadata of the Parquet files that jobs write, the class names: such a file is no source."""
_TIFF_SUFFIXES = frozenset((".tif", ".tiff"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One source of a job.

    Attributes:
        kind: `picture`, `video`, `tiled` (a TIFF on a disk, whose windows are rows), `windows` (a share of these),
            `scene` (a TIFF in a bucket, read in windows by one worker), `row` (of a Parquet file with the pictures'
            bytes), or `unreadable` (a folder).
        source: What names it in the results: path or address; that of a row ends with `#` and its number.
        place: The file.
        name: Relative path for outputs.
        size: Encoded size in bytes of a picture, as far as it is known without reading it; else 0.
        row: Number of the row in a Parquet file; of a share among those of its scene.
        column: Column of the bytes in that file.
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
        """What tells it from others: its address as it is, where `source` is a text that every output can hold."""
        return f"{self.place.address}#{self.row}"

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

    def in_windows(self, path: Path) -> bool:
        """Returns whether a local file is read in windows."""
        return path.suffix.lower() in _TIFF_SUFFIXES and in_windows(path, self.scenes, self.limits)

    def object_in_windows(self, path: str, size: int) -> bool:
        """Returns whether an object in a bucket is read in windows; its pixels are not known."""
        is_tiff = PurePosixPath(path).suffix.lower() in _TIFF_SUFFIXES
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
                    yield from _rows(Place(place.root, file.path))
        else:
            yield from _rows(place)
    else:
        yield from _listed(Place.of(text), how, within)


def _local(source: Source, how: Search) -> Entry:
    place = Place.of(source.path)
    named, name = printable(place.path), printable(source.name)
    if source.unreadable is not None:
        return Entry("unreadable", named, place, name, why=f"the folder cannot be read: {source.unreadable}")
    if source.is_video:
        return Entry("video", named, place, name)
    path = Path(source.path)
    if how.in_windows(path):
        return Entry("tiled", named, place, name)
    try:
        size = path.stat().st_size
    except OSError:  # its row will say why
        size = 0
    return Entry("picture", named, place, name, size)


def _in_bucket(place: Place, how: Search, within: tuple[Place, ...] = ()) -> Iterator[Entry]:
    if not has_pattern(place) and place.path and place.is_file():
        suffix = PurePosixPath(place.path).suffix.lower()
        if suffix in LIST_SUFFIXES:
            yield from _listed(place, how, within)
        elif suffix == PARQUET_SUFFIX:
            yield from _rows(place)
        else:
            yield _remote(place, Listed(place.path, place.size()), PurePosixPath(place.path).name, how)
        return
    start = f"{place.path}/" if place.path and not has_pattern(place) else ""
    for file in matching(place) if has_pattern(place) else place.files():
        at = Place(place.root, file.path)
        suffix = PurePosixPath(file.path).suffix.lower()
        if suffix == PARQUET_SUFFIX:
            yield from _or_unreadable(at.address, _rows(at))
        elif has_pattern(place) or suffix in PICTURE_SUFFIXES or suffix in VIDEO_SUFFIXES:
            yield _remote(at, file, file.path.removeprefix(start), how)


def _remote(at: Place, file: Listed, name: str, how: Search) -> Entry:
    """Returns the entry of a file in a bucket, whose kind is that of its suffix: a look inside would be a request."""
    if PurePosixPath(file.path).suffix.lower() in VIDEO_SUFFIXES:
        return Entry("video", at.address, at, name)
    if how.object_in_windows(file.path, file.size):
        return Entry("scene", at.address, at, name)
    return Entry("picture", at.address, at, name, file.size)


def _or_unreadable(text: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yields the entries of one of many sources; if it cannot be read, one that says so: the others are not lost."""
    try:
        yield from entries
    except (InvalidParameterError, OSError, ValueError) as error:
        why = str(error) if isinstance(error, InvalidParameterError) else f"cannot be read: {reason(error)}"
        shown = without_secrets(printable(text))
        yield Entry("unreadable", shown, Place(LOCAL, text), shown, why=why)


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
            yield _named(one, place)  # its row will say that there is no such file
        else:
            some = _plain([one], how) if _is_plain(one) else _special(one, how, (*within, place))
            yield from _or_unreadable(one, some)


def _with_options(place: Place) -> str:
    address, _, options = place.root.partition("?")
    return f"{address}/{place.path}" + (f"?{options}" if options else "")


def _rows(place: Place) -> Iterator[Entry]:
    """Yields an entry for each row of a Parquet file; none for those of a job's own output.

    Taken is the first column of bytes called `bytes`, `image`, `picture`, `content` or `data`, also `bytes` in a struct
    (`image.bytes`, as Hugging Face's data sets have it), else a column of paths called `path`, `uri`, `url`, `file` or
    `source`.

    Raises:
        InvalidParameterError: It has no such column, or is no Parquet file.
        OSError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with place.open() as file:
            parquet = pq.ParquetFile(file)
            schema, count = parquet.schema_arrow, parquet.metadata.num_rows
            if NAMES_KEY in (schema.metadata or {}):
                return
            column, of_bytes = _column(schema, place)
            texts = None if of_bytes else parquet.read([column]).column(0).to_pylist()
            size = _mean_size(parquet.metadata, column)
    except pa.ArrowInvalid as error:
        raise InvalidParameterError(f"{quote(place.address)} is no Parquet file: {reason(error)}") from error
    name = PurePosixPath(place.path).stem
    for number in range(count):
        if texts is None:
            source = f"{printable(place.address)}#{number}"
            yield Entry("row", source, place, f"{name}_{number:06d}.jpg", size, number, column)
        elif texts[number] is None:
            source = f"{printable(place.address)}#{number}"
            yield Entry("unreadable", source, place, f"{name}_{number:06d}", why="the row has no path")
        else:
            text = str(texts[number])
            yield from _or_unreadable(text, (_named(one, place) for one in [text]))


def _mean_size(metadata: Any, column: str) -> int:
    """Returns the mean size in bytes of a column's values."""
    total = 0
    for group in range(metadata.num_row_groups):
        about = metadata.row_group(group)
        for index in range(about.num_columns):
            if about.column(index).path_in_schema == column:
                total += int(about.column(index).total_uncompressed_size)
    return total // max(1, int(metadata.num_rows))


def _named(text: str, beside: Place) -> Entry:
    """Returns the entry of a path in a file, relative to that file; nothing is looked up."""
    if is_remote(text):
        place = Place.of(text)
    elif os.path.isabs(text) and beside.is_local:
        place = Place(LOCAL, os.path.normpath(text))
    else:
        folder = str(PurePosixPath(beside.path).parent)
        place = Place(beside.root, os.path.normpath(text if folder == "." else f"{folder}/{text}"))
    suffix = PurePosixPath(place.path).suffix.lower()
    kind: Kind = "video" if suffix in VIDEO_SUFFIXES else "picture"
    return Entry(kind, printable(place.address), place, printable(PurePosixPath(place.path).name))


_BYTES = ("bytes", "image", "picture", "content", "data")
_PATHS = ("path", "uri", "url", "file", "source")


def _plain_type(kind: Any) -> Any:
    """Returns the type of the values where each is written once."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _column(schema: Any, place: Place) -> tuple[str, bool]:
    """Returns the column to read, and whether it holds bytes."""
    import pyarrow as pa

    for name in (one for one in _BYTES if one in schema.names):
        kind = _plain_type(schema.field(name).type)
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
            return name, True
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return f"{name}.bytes", True
    for name in (one for one in _PATHS if one in schema.names):
        kind = _plain_type(schema.field(name).type)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return name, False
    raise InvalidParameterError(
        f"{quote(place.address)}: expected a column of bytes ({', '.join(_BYTES)}) or of paths ({', '.join(_PATHS)}), "
        f"given {', '.join(schema.names)}"
    )
