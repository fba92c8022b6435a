"""Tables: the rows of Parquet files as entries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from azaion_batch.sources.entry import Entry, or_unreadable
from azaion_batch.sources.files import Search, named_entry
from azaion_batch.storage import Place
from azaion_engine.errors import InvalidParameterError, quote, reason
from azaion_engine.files.names import printable

PARQUET_SUFFIX = ".parquet"
NAMES_KEY = b"azaion_names"
"""Metadata of the Parquet files that jobs write, the class names: such a file is no source."""
_BYTES = ("bytes", "image", "picture", "content", "data")
_PATHS = ("path", "uri", "url", "file", "source")


def rows_of(place: Place, how: Search) -> Iterator[Entry]:
    """Yields an entry for each row of a Parquet file; none for those of a job's own output.

    Taken is the first column of bytes called `bytes`, `image`, `picture`, `content` or `data`, also `bytes` in a struct
    (`image.bytes`, as Hugging Face's data sets have it), else a column of paths called `path`, `uri`, `url`, `file` or
    `source`.

    Raises:
        InvalidParameterError: It has no such column, or two of that name, or is no Parquet file, or has bytes where
            scenes are wished for.
        OSError: It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with place.open() as file:
            parquet = pq.ParquetFile(file)
            schema = parquet.schema_arrow
            if NAMES_KEY in (schema.metadata or {}):
                return
            column, of_bytes = _column(schema, place)
            texts = None if of_bytes else _texts(parquet.read([column]).column(0))
            sizes = _mean_sizes(parquet.metadata, column)
    except pa.ArrowException as error:
        raise InvalidParameterError(f"{quote(place.address)} is no Parquet file: {reason(error)}") from error
    if of_bytes and how.scenes.given:
        raise InvalidParameterError(
            f"{quote(place.address)}: expected TIFF files, since bands or lengths in metres are asked for, given bytes"
        )
    name = printable(PurePosixPath(place.path).stem)
    for number, size in enumerate(sizes):
        source = f"{printable(place.address)}#{number}"
        if texts is None:
            yield Entry("row", source, place, f"{name}_{number:06d}.jpg", size, number, column)
        elif not (text := texts[number]):
            why = "the row has no path"
            yield Entry("unreadable", source, place, f"{name}_{number:06d}", 0, number, column, why)
        else:
            yield from or_unreadable(text, (named_entry(one, place, how) for one in [text]))


def _texts(column: Any) -> list[str | None]:
    """Returns the texts of a column; those that are not UTF-8 stay what they are, as names of files are bytes."""
    import pyarrow as pa

    values = column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
    return [None if value is None else os.fsdecode(value) for value in values]


def _mean_sizes(metadata: Any, column: str) -> list[int]:
    """Returns, for each row, the mean size in bytes of a column's values in its row group."""
    sizes: list[int] = []
    for group in (metadata.row_group(index) for index in range(metadata.num_row_groups)):
        columns = [group.column(index) for index in range(group.num_columns)]
        total = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == column)
        sizes += [int(total) // max(1, group.num_rows)] * group.num_rows
    return sizes


def _column(schema: Any, place: Place) -> tuple[str, bool]:
    """Returns the column to read, and whether it holds bytes."""
    import pyarrow as pa

    for name in (one for one in _BYTES if one in schema.names):
        kind = _type(schema, name, place)
        if _is_bytes(kind):
            return name, True
        if pa.types.is_struct(kind) and (index := kind.get_field_index("bytes")) >= 0 and _is_bytes(kind[index].type):
            return f"{name}.bytes", True
    for name in (one for one in _PATHS if one in schema.names):
        kind = _type(schema, name, place)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            return name, False
    raise InvalidParameterError(
        f"{quote(place.address)}: expected a column of bytes ({', '.join(_BYTES)}) or of paths ({', '.join(_PATHS)}), "
        f"given {', '.join(schema.names)}"
    )


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _type(schema: Any, name: str, place: Place) -> Any:
    """Returns the type of a column's values where each is written once."""
    import pyarrow as pa

    if (given := schema.names.count(name)) > 1:
        raise InvalidParameterError(f"{quote(place.address)}: expected one column {name!r}, given {given}")
    kind = schema.field(name).type
    return kind.value_type if pa.types.is_dictionary(kind) else kind
