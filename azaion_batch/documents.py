"""Documents: JSON lines, COCO or GeoJSON of a whole job, made of its parts by the writers of `azaion detect`."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from azaion_batch.job import Job
from azaion_batch.parts import rows_of
from azaion_batch.plan import Chunk, place_of
from azaion_batch.rows import Answer, from_table, names_of
from azaion_batch.sources.entry import Entry
from azaion_batch.stages.reading import Reader
from azaion_batch.stages.windows import open_scene
from azaion_batch.storage import Place
from azaion_engine.errors import AzaionError, ConfigurationError, PictureError, reason
from azaion_engine.files.geojson import GeoJson
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.files.sources import Item, Source
from azaion_engine.files.writers import Coco, JsonLines, Writer
from azaion_engine.results.detections import Detections

if TYPE_CHECKING:
    from azaion_engine.files.geojson import Georeference

Tell = Callable[[str, str, str], None]
"""Takes source, code and message of a failure."""

Document = Literal["jsonl", "coco", "geojson"]

FILES: dict[Document, str] = {
    "jsonl": "detections.jsonl",
    "coco": "detections.coco.json",
    "geojson": "detections.geojson",
}
"""Names of the documents in a job's output."""
FAILURES = "failures.jsonl"
"""Name of the file with the failures, a JSON object a line; JSON lines have them among the others."""


def write_document(job: Job, kind: Document, tell: Tell = lambda source, code, why: None) -> Place:
    """Writes a document of the sources of a run, as far as their parts are there; returns its file.

    They are in the order of the parts, which have what earlier runs of the job were given, too. The document replaces
    an earlier one when it is complete. A picture that failed is in `failures.jsonl`, which is there only if one did;
    so is one that cannot be read again where its place on the map is asked for.
    The sources are in memory one part at a time, and its pictures where a map needs them once more that are not on
    disks; COCO's writer collects all boxes.

    Args:
        job: Its parts are written.
        kind: The form.
        tell: Takes the failures that only the document has.

    Raises:
        OSError: A part cannot be read, or the document cannot be written.
        ConfigurationError: A part is damaged.
    """
    names: dict[int, str] = {}
    target = job.out / FILES[kind]
    with _text(target) as stream, nullcontext(stream) if kind == "jsonl" else _failures(job) as failures:
        reader = Reader(job.settings.detector.max_picture_bytes)

        def georeference(item: Item) -> Georeference | None:
            return _georeference(entry, pictures)

        def fail(source: str, error: AzaionError) -> None:
            line = {"source": source, "error": {"code": error.code, "message": str(error)}}
            print(json.dumps(line, ensure_ascii=False), file=failures)

        writer: Writer | None = None
        for chunk in job.chunks:
            pictures = cache(partial(_read_again, reader, job, chunk))
            for answer, entry in _answers(job, chunk, names):
                writer = writer or _writer(kind, stream, names, georeference)
                if not isinstance(answer.found, Detections):
                    fail(answer.source, answer.found)
                    continue
                try:
                    writer.write(_item(answer, job.names[entry.identity]), answer.found)
                except PictureError as error:
                    fail(answer.source, error)
                    tell(answer.source, error.code, str(error))
        (writer or _writer(kind, stream, names, georeference)).finish()
    return target


def _answers(job: Job, chunk: Chunk, names: dict[int, str]) -> Iterator[tuple[Answer, Entry]]:
    """Yields the rows of a chunk's part that this run was given, with their entries.

    Args:
        job: The job.
        chunk: One of its chunks.
        names: Gets the class names of the rows.
    """
    import pyarrow as pa

    entries: dict[str, deque[Entry]] = {}
    for entry in chunk.entries:
        entries.setdefault(entry.source, deque()).append(entry)
    for rows in rows_of(place_of(job.out, chunk.id)):
        names |= names_of(rows.schema)
        try:
            answers = from_table(rows)
        except (pa.ArrowException, AttributeError, KeyError, ValueError) as error:  # of a footer without checksum
            part = place_of(job.out, chunk.id)
            raise ConfigurationError(f"{part.address} is damaged: {reason(error)}; remove it and run again") from error
        for answer in answers:
            if some := entries.get(answer.source):
                # Entries that are printed alike have a row each, in their order.
                entry = some.popleft() if len(some) > 1 else some[0]
                if entry.identity in job.names:
                    yield answer, entry


def _item(answer: Answer, named: Source) -> Item:
    """Returns the item of an answer, for the writers; its picture is not there any more."""
    name = named.name if answer.frame is None else named.frame_name(answer.frame)
    return Item(answer.source, name, PictureError("not read again"), answer.frame, answer.time_s)


def _writer(
    kind: Document, stream: TextIO, names: dict[int, str], georeference: Callable[[Item], Georeference | None]
) -> Writer:
    if kind == "coco":
        return Coco(stream, names)
    return GeoJson(stream, georeference) if kind == "geojson" else JsonLines(stream)


def _read_again(reader: Reader, job: Job, chunk: Chunk) -> dict[str, bytes | PictureError]:
    """Returns the pictures of a chunk that are not on disks, by their entry's identity.

    All at once: a Parquet file that is read for each of its rows takes a time that grows with their square.
    """
    entries = [entry for entry in chunk.entries if entry.identity in job.names and not entry.is_on_disk]
    return dict(zip((entry.identity for entry in entries), reader.read(entries), strict=True))


def _georeference(entry: Entry, pictures: Callable[[], Mapping[str, bytes | PictureError]]) -> Georeference | None:
    """Returns where the picture of an entry lies, None if it does not say so.

    Args:
        entry: A source with boxes.
        pictures: Returns those of its chunk that are not on disks, by identity.

    Raises:
        PictureError: It is gone.
    """
    from azaion_engine.scenes.files import locate_item

    picture: Path | bytes | PictureError
    try:
        if entry.kind == "video":
            return None
        if entry.kind == "tiled" and not entry.place.is_local:
            with open_scene(entry.place, None) as scene:
                return scene.georeference
        if entry.kind in ("picture", "tiled") and entry.place.is_local:
            picture = Path(entry.place.path)
            picture.open("rb").close()
        else:
            picture = pictures()[entry.identity]
        if isinstance(picture, PictureError):
            raise picture
    except (PictureError, OSError) as error:
        raise PictureError(f"its place on the map is not known, as it cannot be read again: {reason(error)}") from error
    return locate_item(Item(entry.source, entry.name, picture))


@contextmanager
def _text(place: Place) -> Iterator[TextIO]:
    """Yields a text file that is in its place, complete, after the block; not at all after an error."""
    with tempfile.TemporaryDirectory(prefix="azaion-batch-") as folder:
        path = Path(place.path) if place.is_local else Path(folder, "document")
        with SafeOutput(overwrite=True).text(path) as stream:
            yield stream
        if not place.is_local:
            place.write(path.read_bytes())


@contextmanager
def _failures(job: Job) -> Iterator[TextIO]:
    """Yields the file of the failures; where there are none, an earlier run's is removed."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", prefix="azaion-batch-", newline="") as stream:
        yield stream
        stream.seek(0)
        if text := stream.read():
            (job.out / FAILURES).write(text.encode())
        else:
            (job.out / FAILURES).remove()
