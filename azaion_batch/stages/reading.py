"""Reading: the stage that brings pictures of buckets and tables into Ray's object store; decodes windows only."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from azaion_batch.plan import Chunk
from azaion_batch.sources.entry import Entry
from azaion_batch.stages.table import read_rows
from azaion_batch.stages.windows import Read, WindowReader
from azaion_batch.storage import Place
from azaion_engine.errors import AzaionError, PictureError, PictureTooLargeError, reason
from azaion_engine.system.heap import keep_heap

_READERS = 16
"""Threads that read from a bucket at once in one task: each waits for the network."""
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
        """Returns the pictures of some rows of a Parquet file, in rising order."""
        return [self._value(value) for value in read_rows(place, column, numbers)]

    def _value(self, value: Any) -> bytes | PictureError:
        if isinstance(value, PictureError):
            return value
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            return PictureError("the row has no picture")
        if not isinstance(data, bytes):
            return PictureError("the row has no bytes, as it had when the job began")
        if len(data) > self._most_bytes:
            return PictureTooLargeError(f"the picture has {len(data)} bytes, at most {self._most_bytes} are accepted")
        return data
