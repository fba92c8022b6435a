"""Table: a Parquet file that stays open, whose rows are read on from where the last ones were."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

from azaion_batch.storage import Place
from azaion_engine.errors import PictureError, reason

_ROWS = 16
"""Rows of a Parquet file that are unpacked at once, at least: a row group may have gigabytes."""
_MOST_ROWS = 256
"""Such rows at most: a picture that many rows have may be written once, and the file tells no size of all of them."""
_AHEAD = 1 << 23
"""Bytes of a Parquet file that are read, and about those that are unpacked, at once."""


def read_rows(place: Place, column: str, numbers: Sequence[int]) -> list[Any]:
    """Returns the values of some rows of a Parquet file, in rising order; PictureErrors for those of damaged groups."""
    import pyarrow as pa

    try:
        return _kept(place, column).read(numbers)
    except MemoryError:  # pyarrow's is an ArrowException, too
        raise
    except (pa.ArrowException, OSError) as error:
        return [_unreadable(error)] * len(numbers)


class Table:
    """An open Parquet file.

    Many files have one row group, of which only the beginning is found without reading: the next chunk goes on where
    the last one of this process ended, else all of them together would read a number of bytes that grows with the
    square of the file's.
    """

    def __init__(self, place: Place, column: str) -> None:
        """Opens a file; raises OSError or pyarrow's ArrowException."""
        import pyarrow.parquet as pq

        self._column = column
        self._file = place.open()
        self._group, self._begin = -1, 0
        self._values: Any = ()  # of the batch that begins there in the row group
        self._batches: Iterator[Any] = iter(())
        try:
            self._parquet = pq.ParquetFile(self._file, buffer_size=_AHEAD, pre_buffer=False)
        except BaseException:
            self.close()
            raise

    def read(self, numbers: Sequence[int]) -> list[Any]:
        """Returns the values of some rows, as `read_rows` does."""
        read: list[Any] = []
        begin = 0
        for group in range(self._parquet.num_row_groups):
            end = begin + self._parquet.metadata.row_group(group).num_rows
            wanted = [number - begin for number in takewhile(end.__gt__, numbers[len(read) :])]
            if wanted:
                read += self._of_group(group, wanted)
            begin = end
        missing = len(numbers) - len(read)
        return read + [PictureError("the Parquet file has fewer rows than when the job began")] * missing

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _of_group(self, group: int, wanted: list[int]) -> list[Any]:
        """Returns the values of some rows of a row group, in rising order; never has all of the group in memory."""
        import pyarrow as pa

        read: list[Any] = []
        fault = PictureError("the Parquet file is cut off")
        try:
            if group != self._group or wanted[0] < self._begin:
                self._begin, self._values = 0, ()
                self._batches = self._parquet.iter_batches(
                    self._rows_at_once(group), row_groups=[group], columns=[self._column]
                )
            self._group = -1  # until all is well
            while len(read) < len(wanted):
                at = wanted[len(read)] - self._begin
                if at < len(self._values):
                    read.append(self._values[at].as_py())
                elif (batch := next(self._batches, None)) is None:
                    break
                elif (name := self._column.partition(".")[0]) not in batch.schema.names:
                    fault = PictureError(
                        f"the Parquet file has no column {self._column!r}, as it had when the job began"
                    )
                    break
                else:
                    self._begin, self._values = self._begin + len(self._values), batch.column(name)
            else:
                self._group = group
        except MemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            fault = _unreadable(error)
        return read + [fault] * (len(wanted) - len(read))

    def _rows_at_once(self, group: int) -> int:
        """Returns how many rows of a row group are unpacked at once: more where they are small."""
        about = self._parquet.metadata.row_group(group)
        columns = [about.column(index) for index in range(about.num_columns)]
        size = sum(one.total_uncompressed_size for one in columns if one.path_in_schema == self._column)
        return min(_MOST_ROWS, max(_ROWS, _AHEAD * about.num_rows // size)) if size else _ROWS


_tables: dict[tuple[Place, str, tuple[int, int]], Table] = {}
"""The table that this process has read last."""


def _kept(place: Place, column: str) -> Table:
    """Returns an open table, the last one if its file is the same."""
    key = (place, column, place.stamp())
    if key not in _tables:
        _close()
        atexit.unregister(_close)
        atexit.register(_close)  # pyarrow cannot close an object when Python has ended
        _tables[key] = Table(place, column)
    return _tables[key]


def _close() -> None:
    while _tables:
        _tables.popitem()[1].close()


def _unreadable(error: Exception) -> PictureError:
    return PictureError(f"the Parquet file cannot be read: {' '.join(reason(error).split())}")
