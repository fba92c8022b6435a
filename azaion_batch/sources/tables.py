"""Tables: the rows of Parquet files as entries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

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
_ROWS = 256
"""Rows of a Parquet file whose texts, or bytes, are in memory at once."""


class Columns(NamedTuple):
    """Where the pictures of a table are.

    Attributes:
        bytes: Column of bytes; None: there is none.
        paths: Column of paths, of the rows without bytes; None: there is none.
    """

    bytes: str | None
    paths: str | None


def rows_of(place: Place, how: Search) -> Iterator[Entry]:
    """Yields an entry for each row of a Parquet file; none for those of a job's own output.

    Taken is the first column of bytes called `bytes`, `image`, `picture`, `content` or `data`, also `bytes` in a struct
    (`image.bytes`, as Hugging Face's data sets have it, where `image.path` names the file of a row without bytes), else
    a column of paths called `path`, `uri`, `url`, `file` or `source`.

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
            columns = _columns(schema, place)
            texts = _texts(parquet, columns)
            sizes = _mean_sizes(parquet.metadata, columns.bytes)
    except (pa.ArrowException, UnicodeDecodeError) as error:  # the latter where names of columns are damaged
        raise InvalidParameterError(f"{quote(place.address)} is no Parquet file: {_one_line(error)}") from error
    except OSError as error:
        if error.errno is not None:  # of the disk, which names the file
            raise
        raise OSError(f"{quote(place.address)}: {_one_line(error)}") from error
    if columns.bytes and how.scenes.given and None in texts:
        raise InvalidParameterError(
            f"{quote(place.address)}: expected TIFF files, since bands or lengths in metres are asked for, given bytes"
        )
    name = printable(PurePosixPath(place.path).stem)
    for number, (text, size) in enumerate(zip(texts, sizes, strict=True)):
        source = f"{printable(place.address)}#{number}"
        if text:
            yield from or_unreadable(text, (named_entry(one, place, how) for one in [text]))
        elif columns.bytes:
            yield Entry("row", source, place, f"{name}_{number:06d}.jpg", size, number, columns.bytes)
        else:
            why = "the row has no path"
            yield Entry("unreadable", source, place, f"{name}_{number:06d}", 0, number, columns.paths or "", why)


def _one_line(error: Exception) -> str:
    return " ".join(reason(error).split())


def _texts(parquet: Any, columns: Columns) -> list[str | None]:
    """Returns the path of each row that has one, and no bytes.

    Those that are not UTF-8 stay what they are, as names of files are bytes.
    """
    import pyarrow as pa

    texts: list[str | None] = []
    for index in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(index)
        nulls = _nulls(group, columns.bytes) if columns.bytes else group.num_rows
        if not columns.paths or nulls == 0:
            texts += [None] * group.num_rows
            continue
        without = [True] * group.num_rows
        if columns.bytes and nulls != group.num_rows:
            without = [one for values in _values(parquet, index, columns.bytes) for one in values.is_null().to_pylist()]
        given = (values.cast(pa.large_string()) for values in _values(parquet, index, columns.paths))
        named = (text for values in given for text in values.cast(pa.large_binary()).to_pylist())
        texts += [
            os.fsdecode(text) if bare and text is not None else None for bare, text in zip(without, named, strict=True)
        ]
    return texts


def _values(parquet: Any, group: int, name: str) -> Iterator[Any]:
    """Yields the values of a column, or of a struct's field, in one row group; never has all of them in memory."""
    import pyarrow.compute as pc

    column, _, field = name.partition(".")
    for batch in parquet.iter_batches(_ROWS, row_groups=[group], columns=[name]):
        values = batch.column(column)
        yield pc.struct_field(values, [field]) if field else values


def _nulls(group: Any, name: str) -> int | None:
    """Returns how many values of a column are null in a row group; None if the file does not say."""
    columns = (group.column(index) for index in range(group.num_columns))
    # A column with a dot in its name may be called as a struct's field is.
    told = [one.statistics for one in columns if one.path_in_schema == name]
    return int(told[0].null_count) if len(told) == 1 and told[0] and told[0].has_null_count else None


def _mean_sizes(metadata: Any, column: str | None) -> list[int]:
    """Returns, for each row, the mean size in bytes of a column's values in its row group; 0 without a column."""
    sizes: list[int] = []
    for group in (metadata.row_group(index) for index in range(metadata.num_row_groups)):
        columns = [group.column(index) for index in range(group.num_columns)]
        total = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == column)
        sizes += [int(total) // max(1, group.num_rows)] * group.num_rows
    return sizes


def _columns(schema: Any, place: Place) -> Columns:
    """Returns the columns to read; raises InvalidParameterError if there is none."""
    import pyarrow as pa

    for name in (one for one in _BYTES if one in schema.names):
        kind = _type(schema, name, place)
        if _is_bytes(kind):
            return Columns(name, None)
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            fields = {field.name: _of_values(field.type) for field in kind}
            has_paths = kind.get_field_index("path") >= 0 and _is_text(fields["path"])
            # pandas writes bytes that no row has as nulls of no type.
            if _is_bytes(fields["bytes"]) or (has_paths and pa.types.is_null(fields["bytes"])):
                return Columns(f"{name}.bytes", f"{name}.path" if has_paths else None)
    for name in (one for one in _PATHS if one in schema.names):
        if _is_text(_type(schema, name, place)):
            return Columns(None, name)
    raise InvalidParameterError(
        f"{quote(place.address)}: expected a column of bytes ({', '.join(_BYTES)}) or of paths ({', '.join(_PATHS)}), "
        f"given {', '.join(schema.names)}"
    )


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _type(schema: Any, name: str, place: Place) -> Any:
    """Returns the type of a column's values; raises InvalidParameterError if two have that name."""
    if (given := schema.names.count(name)) > 1:
        raise InvalidParameterError(f"{quote(place.address)}: expected one column {name!r}, given {given}")
    return _of_values(schema.field(name).type)


def _of_values(kind: Any) -> Any:
    """Returns the type of the values where each is written once."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind
