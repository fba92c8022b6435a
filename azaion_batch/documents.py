"""Documents: JSON lines, COCO or GeoJSON of a whole job, made of its parts by the writers of `azaion detect`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from azaion_batch.job import Job
from azaion_batch.plan import place_of
from azaion_batch.rows import Answer, from_table, names_of
from azaion_batch.sources.entry import Entry
from azaion_batch.stages.detecting import local_copy
from azaion_batch.stages.reading import Reader
from azaion_batch.stages.windows import open_scene
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError, PictureError, reason
from azaion_engine.files.geojson import GeoJson
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.files.sources import Item, Source
from azaion_engine.files.writers import Coco, JsonLines, Writer
from azaion_engine.results.detections import Detections

if TYPE_CHECKING:
    from azaion_engine.files.geojson import Georeference

Document = Literal["jsonl", "coco", "geojson"]

FILES: dict[Document, str] = {
    "jsonl": "detections.jsonl",
    "coco": "detections.coco.json",
    "geojson": "detections.geojson",
}
"""Names of the documents in a job's output."""
FAILURES = "failures.jsonl"
"""Name of the file with the failures, a JSON object a line; JSON lines have them among the others."""


def write_document(job: Job, kind: Document) -> Place:
    """Writes a document of the sources of a run, as far as their parts are there; returns its file.

    They are in the order of the parts, which have what earlier runs of the job were given, too. The document replaces
    an earlier one when it is complete. A picture that failed is in `failures.jsonl`, which is there only if one did.
    The sources are in memory one part at a time; COCO's writer collects all boxes.

    Args:
        job: Its parts are written.
        kind: The form.

    Raises:
        OSError: A part cannot be read, or the document cannot be written.
        ConfigurationError: A part is damaged.
    """
    from azaion_engine.scenes.files import locate_item

    names: dict[int, str] = {}
    target = job.out / FILES[kind]
    with _text(target) as stream, nullcontext(stream) if kind == "jsonl" else _failures(job) as failures:
        reader = Reader(job.settings.detector.max_picture_bytes)
        entries: dict[str, Entry] = {}

        def georeference(item: Item) -> Georeference | None:
            return _georeference(entries[item.source], reader, locate_item)

        writer: Writer | None = None
        for chunk in job.chunks:
            entries = {entry.source: entry for entry in chunk.entries}
            for answers, some_names in _read(place_of(job.out, chunk.id)):
                names |= some_names
                if writer is None:
                    writer = _writer(kind, stream, names, georeference)
                for answer in answers:
                    named = job.names.get(entries[answer.source].identity)
                    if named is None:  # not given in this run
                        continue
                    if isinstance(answer.found, Detections):
                        writer.write(_item(answer, named), answer.found)
                    else:
                        error = {"code": answer.found.code, "message": str(answer.found)}
                        line = json.dumps({"source": answer.source, "error": error}, ensure_ascii=False)
                        print(line, file=failures)
        (writer or _writer(kind, stream, names, georeference)).finish()
    return target


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


def _georeference(
    entry: Entry, reader: Reader, locate_item: Callable[[Item], Georeference | None]
) -> Georeference | None:
    if entry.kind == "video":
        return None
    if entry.kind == "tiled" and not entry.place.is_local:
        with open_scene(entry.place, None) as scene:
            return scene.georeference
    if entry.kind in ("picture", "tiled") and entry.place.is_local:
        with local_copy(entry) as path:
            return locate_item(Item(entry.source, entry.name, path))
    [read] = reader.read([entry])
    return locate_item(Item(entry.source, entry.name, read))


def _read(part: Place) -> Iterator[tuple[list[Answer], dict[int, str]]]:
    """Yields the answers of a part, some at a time, and the class names; none if the part is missing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = part.open()
    except FileNotFoundError:
        return
    with file:
        try:
            parquet = pq.ParquetFile(file)
            names = names_of(parquet.schema_arrow)
            for batch in parquet.iter_batches(1024):
                yield from_table(batch), names
        except pa.ArrowException as error:
            raise ConfigurationError(f"{part.address} is damaged: {reason(error)}; remove it and run again") from error


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
