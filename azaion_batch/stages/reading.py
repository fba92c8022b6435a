"""Reading: the stage that brings pictures of buckets and tables into Ray's object store; decodes windows only."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, takewhile
from typing import Any

from azaion_batch.plan import Chunk
from azaion_batch.sources.entry import Entry
from azaion_batch.stages.windows import Read, WindowReader
from azaion_batch.storage import Place
from azaion_engine.errors import AzaionError, PictureError, PictureTooLargeError, reason
from azaion_engine.system.heap import keep_heap

_READERS = 16
"""Threads that read from a bucket at once in one task: each waits for the network."""
_ROWS = 16
"""Rows of a Parquet file that are unpacked at once, at least: a row group may have gigabytes."""
_AHEAD = 1 << 23
"""Bytes of a Parquet file that are read, and about those that are unpacked, at once."""
_ATTEMPTS = 3
"""Times that a picture in a bucket is tried, beside the retries of pyarrow's own clients."""


class Reader:
    """Reads chunks: rows of `work` (`Chunk.to_line`) get their `pictures` and, where one cannot be read, `faults`."""

    def __init__(self, most_bytes: int, windows: WindowReader | None = None) -> None:
        """Pictures with more than `most_bytes` are not read; `windows` reads scenes, where there are any."""
        self._most_bytes = most_bytes
        self._windows = windows

    def __call__(self, batch: Any) -> Any:
        """Returns the batch with columns `work`, `pictures`, `faults`, `about` and `averages`.

        `pictures` and `faults` are lists in the order of the entries, or of the windows (uint8 RGB), which `about` and
        `averages` belong to: see `windows.Read`. Videos, scenes in buckets and pictures on disks are empty here: who
        decodes them opens the files.
        """
        import pyarrow as pa

        keep_heap()
        chunks = [Chunk.from_line(line) for line in batch.column("work").to_pylist()]
        read = [self._guarded(chunk) for chunk in chunks]
        faults = [
            [f"{one.code}\n{one}" if isinstance(one, AzaionError) else None for one in some.pictures] for some in read
        ]
        pictures = [[b"" if isinstance(one, AzaionError) else one for one in some.pictures] for some in read]
        return pa.table(
            {
                "work": batch.column("work"),
                "pictures": pa.array(pictures, pa.list_(pa.large_binary())),
                "faults": pa.array(faults, pa.list_(pa.string())),
                "about": pa.array([some.about for some in read], pa.string()),
                "averages": pa.array([some.averages for some in read], pa.list_(pa.large_binary())),
            }
        )

    def _chunk(self, chunk: Chunk) -> Read:
        if self._windows is not None and chunk.kind in ("tiled", "windows"):
            return self._windows.read(chunk)
        read = iter(self.read([entry for entry in chunk.entries if not entry.is_on_disk]))
        return Read([b"" if entry.is_on_disk else next(read) for entry in chunk.entries])

    def _guarded(self, chunk: Chunk) -> Read:
        """Reads a chunk; what nobody foresaw is why its pictures fail: without a row they would be tried for ever."""
        try:
            return self._chunk(chunk)
        except MemoryError:  # another try may have more
            raise
        except Exception as error:
            fault = PictureError(f"cannot be read: {type(error).__name__}: {reason(error)}")
            return Read([fault] * len(chunk.entries), "[]", [b""] * len(chunk.entries))

    def read(self, entries: Sequence[Entry]) -> list[bytes | PictureError]:
        """Returns the encoded picture of each entry, or why it cannot be read; nothing of videos and scenes."""
        read: list[bytes | PictureError] = []
        for (kind, is_local), group in groupby(entries, lambda entry: (entry.kind, entry.place.is_local)):
            some = list(group)
            if kind == "row":
                for place, rows in groupby(some, lambda entry: (entry.place, entry.column)):
                    read += self._rows(*place, [entry.row for entry in rows])
            elif kind == "picture" and is_local:
                read += [self._file(entry) for entry in some]
            elif kind == "picture":
                with ThreadPoolExecutor(_READERS, "read") as threads:
                    read += threads.map(self._object, some)
            elif kind == "unreadable":
                read += [PictureError(entry.why) for entry in some]
            else:
                read += [b""] * len(some)
        return read

    def _file(self, entry: Entry) -> bytes | PictureError:
        try:
            return entry.read(self._most_bytes)
        except PictureError as error:
            return error

    def _object(self, entry: Entry) -> bytes | PictureError:
        for _ in range(_ATTEMPTS - 1):
            read = self._file(entry)
            if isinstance(read, (bytes, PictureTooLargeError)):
                return read
        return self._file(entry)

    def _rows(self, place: Place, column: str, numbers: list[int]) -> list[bytes | PictureError]:
        """Returns the values of some rows of a Parquet file, in rising order, and of damaged row groups the error."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        read: list[bytes | PictureError] = []
        try:
            with place.open() as file:
                parquet = pq.ParquetFile(file, buffer_size=_AHEAD, pre_buffer=False)
                begin = 0
                for group in range(parquet.num_row_groups):
                    end = begin + parquet.metadata.row_group(group).num_rows
                    wanted = [number - begin for number in takewhile(end.__gt__, numbers[len(read) :])]
                    if wanted:
                        read += self._of_group(parquet, group, column, wanted)
                    begin = end
        except MemoryError:  # pyarrow's is an ArrowException, too
            raise
        except (pa.ArrowException, OSError) as error:
            return [_unreadable(error)] * len(numbers)
        missing = len(numbers) - len(read)
        return read + [PictureError("the Parquet file has fewer rows than when the job began")] * missing

    def _of_group(self, parquet: Any, group: int, column: str, wanted: list[int]) -> list[bytes | PictureError]:
        """Returns the values of some rows of a row group, in rising order; never has all of the group in memory."""
        import pyarrow as pa

        read: list[bytes | PictureError] = []
        begin = 0
        try:
            for batch in parquet.iter_batches(
                _rows_at_once(parquet, group, column), row_groups=[group], columns=[column]
            ):
                name = column.partition(".")[0]
                if name not in batch.schema.names:
                    fault = PictureError(f"the Parquet file has no column {column!r}, as it had when the job began")
                    return [fault] * len(wanted)
                values, end = batch.column(name), begin + len(batch)
                while len(read) < len(wanted) and wanted[len(read)] < end:
                    read.append(self._value(values[wanted[len(read)] - begin].as_py()))
                if len(read) == len(wanted):
                    break
                begin = end
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            read += [_unreadable(error)] * (len(wanted) - len(read))
        return read + [PictureError("the Parquet file is cut off")] * (len(wanted) - len(read))

    def _value(self, value: Any) -> bytes | PictureError:
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            return PictureError("the row has no picture")
        if not isinstance(data, bytes):
            return PictureError("the row has no bytes, as it had when the job began")
        if len(data) > self._most_bytes:
            return PictureTooLargeError(f"the picture has {len(data)} bytes, at most {self._most_bytes} are accepted")
        return data


def _rows_at_once(parquet: Any, group: int, column: str) -> int:
    """Returns how many rows of a row group are unpacked at once: more where they are small."""
    about = parquet.metadata.row_group(group)
    columns = [about.column(index) for index in range(about.num_columns)]
    size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == column)
    return max(_ROWS, _AHEAD * about.num_rows // max(1, size)) if size else _ROWS


def _unreadable(error: Exception) -> PictureError:
    return PictureError(f"the Parquet file cannot be read: {' '.join(reason(error).split())}")
