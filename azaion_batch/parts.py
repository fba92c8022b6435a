"""Parts: Parquet files with the results of one chunk each, written whole; which of them are there is what is done."""

from __future__ import annotations

import json
import pickle
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from azaion_batch.plan import PARTS, SUFFIX, WINDOWS, place_of
from azaion_batch.rows import portable
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError, reason

_TOLD = 8
"""Maximum failures of a part that are reported while the job runs; its rows have all of them."""


class Part(NamedTuple):
    """What a part that was written holds.

    Attributes:
        id: Name of its chunk.
        pictures: Number of rows without an error.
        boxes: Number of boxes.
        failures: Number of rows with an error.
        told: Source, code and message of the first of them.
    """

    id: str
    pictures: int
    boxes: int
    failures: int
    told: tuple[tuple[str, str, str], ...]


class Writer:
    """Writes the rows of chunks as parts; a part that is there already is replaced by the same rows."""

    def __init__(self, out: Place) -> None:
        """Writes below the job's output."""
        self._out = out

    def __call__(self, batch: Any) -> Any:
        """Takes the columns of `Detecting` and returns `part` (JSON, or null) and `failure` (pickled, or null)."""
        import pyarrow as pa

        parts: list[str | None] = []
        failures: list[bytes | None] = []
        for row in batch.to_pylist():
            failure = row["failure"]
            part: Part | None = None
            if failure is None:
                try:
                    part = self._write(row["id"], row["folder"], row["rows"])
                except Exception as error:  # such as a full disk: the next part would fail too
                    failure = pickle.dumps(portable(error))
            parts.append(None if part is None else json.dumps(part))
            failures.append(failure)
        return pa.table({"part": pa.array(parts, pa.string()), "failure": pa.array(failures, pa.binary())})

    def _write(self, name: str, folder: str, rows: bytes) -> Part:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        table = pa.ipc.open_stream(rows).read_all()
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
        place_of(self._out, name, folder).write(bytes(sink.getvalue()))
        if folder == WINDOWS:  # counted when the scene is whole
            return Part(name, 0, 0, 0, ())
        failed = table.filter(pc.is_valid(table["error"])).select(["source", "error_code", "error"])
        boxes = pc.sum(pc.list_value_length(table["class_ids"])).as_py() or 0
        told = tuple((row["source"], row["error_code"], row["error"]) for row in failed.slice(0, _TOLD).to_pylist())
        return Part(name, table.num_rows - failed.num_rows, boxes, failed.num_rows, told)


def part_of(text: str) -> Part:
    """Reads what `Writer` returned."""
    name, pictures, boxes, failures, told = json.loads(text)
    return Part(name, pictures, boxes, failures, tuple((source, code, why) for source, code, why in told))


def written(out: Place, folder: str = PARTS) -> set[str]:
    """Returns the names of the parts that are there; raises OSError."""
    # Some disks leave an empty file after a power cut.
    names = (file.path.rpartition("/")[2] for file in (out / folder).files(recursive=False) if file.size)
    return {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}


def remove_leftovers(out: Place) -> None:
    """Removes the temporary files of writers that were killed; a bucket has none."""
    if out.is_local:
        for folder in (PARTS, WINDOWS):
            for path in Path(out.path, folder).glob(".azaion-*.part"):
                path.unlink(missing_ok=True)


def rows_of(part: Place) -> Iterator[Any]:
    """Yields the rows of a part as record batches of at most 1,024, none if it is missing; in memory is all of it.

    Raises:
        OSError: It cannot be read.
        ConfigurationError: It is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = part.read()
    except FileNotFoundError:
        return
    try:
        yield from pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).iter_batches(1024)
    except (pa.ArrowException, OSError) as error:  # not of the disk: all bytes are here
        why = " ".join(reason(error).split())  # one line
        raise ConfigurationError(f"{part.address} is damaged: {why}; run again with --retry-failed") from error


def has_failures(out: Place, name: str, sources: Container[str]) -> bool:
    """Returns whether a part is damaged, or has rows of some sources with errors; raises OSError."""
    try:
        for rows in rows_of(place_of(out, name)):
            told = zip(*(rows.column(name).to_pylist() for name in ("source", "error")), strict=True)
            if any(error is not None and source in sources for source, error in told):
                return True
    except ConfigurationError:
        return True
    return False
