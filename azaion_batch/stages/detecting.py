"""Detecting: the stage with the engine, opened or joined once by each worker; pictures, or their paths, become rows."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azaion_batch.plan import Chunk
from azaion_batch.rows import Answer, portable, to_table
from azaion_batch.settings import BatchSettings
from azaion_batch.sources.entry import Entry
from azaion_batch.stages.merging import merged
from azaion_batch.stages.windows import pixels_of, to_windows, windows_of
from azaion_batch.stages.worker_pipeline import OF_NO_PICTURE, OF_THE_WORKER, WorkerPipeline
from azaion_engine.errors import AzaionError, PictureError, reason
from azaion_engine.files.sources import Source, pictures_of
from azaion_engine.system.cores import available_cores
from azaion_engine.system.heap import keep_heap
from azaion_engine.tiling.settings import TilesWish

if TYPE_CHECKING:
    from azaion_engine.results.detections import Detections

CALLS = 2
"""Calls that a worker has at once, so that its pipeline never waits for pictures: while those of one become rows, or
Ray hands over the next, the other's fill batches. More would take the interpreter's lock from the pipeline."""

_LANES = 4
"""Pictures that the network sees at once without a GPU, at most: each takes some hundred megabytes at 1280²."""

_VIDEO_ROWS = 1024
"""Frames of a video whose answers are collected before they become rows of a table."""


class Detecting:
    """A worker: detects in the pictures of chunks."""

    def __init__(self, settings: BatchSettings, threads: int, model: bytes | None = None, shared: bool = False) -> None:
        """Opens the engine; on a GPU its plan is built once and kept.

        Args:
            settings: The job's.
            threads: Threads that decode.
            model: Content of the model file, for machines that do not have it at its path; None: it is there.
            shared: Whether several workers share the engine, as those of a GPU do.
        """
        from azaion_engine.detector import Detector

        keep_heap()
        self._settings = settings
        self._threads = threads
        self._pictures = WorkerPipeline(self._each)
        self._uncut = WorkerPipeline(partial(self._each, tiles="off"))
        self._failure: Exception | None = None
        try:
            self._key = settings.key()
            lanes = min(_LANES, available_cores())
            self._detector = Detector.open(_with_model(settings, model), shared=shared, cpu_lanes=lanes)
            kept = settings.classes
            self._classes = None if kept is None else self._detector.class_ids(kept)
        except (AzaionError, OSError) as error:  # every call answers it, which ends the job with this very error
            self._failure = error

    def __call__(self, batch: Any) -> Any:
        """Takes columns of `Reader`, or only `work` if all is on disks, and returns what `Writer` takes.

        That is `id`, `folder`, `rows` (Arrow's stream format) and `failure` (pickled, or null).
        A picture that fails is a row; `failure` is an error that ends the job.
        """
        import pyarrow as pa

        ids, folders, tables, failures = [], [], [], []
        for index, line in enumerate(batch.column("work").to_pylist()):
            chunk = Chunk.from_line(line)
            failure, table = self._failure, b""
            if failure is None:
                try:
                    table = self._detect(chunk, batch.slice(index, 1))
                except OF_THE_WORKER:
                    os._exit(1)  # Ray starts another process, which gets this chunk again
                except Exception as error:
                    failure = portable(error)
            ids.append(chunk.id)
            folders.append(chunk.folder)
            tables.append(table)
            failures.append(None if failure is None else pickle.dumps(failure))
        return pa.table(
            {
                "id": pa.array(ids, pa.string()),
                "folder": pa.array(folders, pa.string()),
                "rows": pa.array(tables, pa.large_binary()),
                "failure": pa.array(failures, pa.binary()),
            }
        )

    def _detect(self, chunk: Chunk, read: Any) -> bytes:
        import pyarrow as pa

        first = chunk.entries[0]
        pictures: Any = None
        faults: Any = None
        if "pictures" in read.column_names:
            pictures, faults = (read.column(name)[0].values for name in ("pictures", "faults"))
        if first.kind == "windows":
            averages = read.column("averages")[0].as_py()
            tables = [self._windows(chunk, read.column("about")[0].as_py(), pictures, faults, averages)]
        elif first.kind == "tiled":
            rows = partial(_loaded, pictures[0].as_buffer(), faults[0].as_py())
            tables = [self._to_table(self._merged(first, read.column("about")[0].as_py(), rows))]
        elif first.kind == "video":
            tables = [self._to_table(answers) for answers in _grouped(self._video(first))]
        else:
            most = self._settings.detector.max_picture_bytes
            loads = [
                partial(entry.read, most)
                if entry.is_on_disk
                else partial(_loaded, pictures[index].as_buffer(), faults[index].as_py())
                for index, entry in enumerate(chunk.entries)
            ]
            named = zip(chunk.entries, self._pictures.detect(loads), strict=True)
            tables = [self._to_table([Answer(entry.source, entry.name, one) for entry, one in named])]
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, tables[0].schema) as stream:
            for table in tables:
                stream.write_table(table)
        return bytes(sink.getvalue())

    def _to_table(self, answers: list[Answer]) -> Any:
        return to_table(answers, self._settings.model_sha256, self._key, self._detector.names)

    def _windows(self, chunk: Chunk, about: str, pictures: Any, faults: Any, averages: Any) -> Any:
        """Returns a row for each window of the chunk's shares, with boxes in pixels of the window."""
        windows = windows_of(about)
        loads = [
            partial(pixels_of, window, pictures[index].as_buffer(), partial(_loaded, b"", faults[index].as_py()))
            for index, window in enumerate(windows)
        ]
        return to_windows(chunk, windows, self._uncut.detect(loads), averages, self._to_table)

    def _merged(self, entry: Entry, about: str, rows: Callable[[], memoryview]) -> list[Answer]:
        """Returns the boxes of a scene of its windows' rows, and an error if there is one."""
        try:
            names = self._detector.names
            return merged(entry, about, rows(), self._settings, names, lambda load: self._uncut.detect([load]))
        except PictureError as error:
            return [Answer(entry.source, entry.name, error)]

    def _each(self, loads: Any, tiles: TilesWish = None) -> Iterator[Detections | PictureError]:
        return self._detector.detect_each(loads, threads=self._threads, classes=self._classes, tiles=tiles)

    def _video(self, entry: Entry) -> Iterator[Answer]:
        """Yields the answers of a video's frames; if it fails, the last one is the error."""
        try:
            with local_copy(entry) as path:
                source = Source(str(path), entry.name)
                items = pictures_of(source, self._settings.every)
                taken = []

                def loads() -> Iterator[Callable[[], Any]]:
                    for item in items:
                        taken.append(item)
                        yield item.load

                for found in self._each(loads()):
                    item = taken.pop(0)
                    yield Answer(entry.source, item.name, found, item.frame, item.time_s)
        except OF_NO_PICTURE:
            raise
        except AzaionError as error:
            yield Answer(entry.source, entry.name, error)


def _loaded(buffer: Any, fault: str | None) -> memoryview:
    """Returns a picture's bytes, without a copy; raises the error that the reader met."""
    if fault is not None:
        code, _, text = fault.partition("\n")
        error = PictureError(text)
        error.code = code
        raise error
    return memoryview(buffer)


@contextmanager
def local_copy(entry: Entry) -> Iterator[Path]:
    """Yields the path of an entry's file, which is fetched from its bucket and removed afterwards if it is in one.

    Raises:
        PictureError: It cannot be read.
    """
    if entry.place.is_local:
        yield Path(entry.place.path)
        return
    with tempfile.TemporaryDirectory(prefix="azaion-batch-") as folder:
        path = Path(folder, Path(entry.place.path).name)
        try:
            with entry.place.open() as file, path.open("wb") as copy:
                while block := file.read(1 << 22):
                    copy.write(block)
        except OSError as error:
            raise PictureError(f"cannot be read: {reason(error)}") from error
        yield path


def _grouped(answers: Iterator[Answer]) -> Iterator[list[Answer]]:
    held: list[Answer] = []
    for answer in answers:
        held.append(answer)
        if len(held) == _VIDEO_ROWS:
            yield held
            held = []
    if held:
        yield held


def _with_model(settings: BatchSettings, model: bytes | None) -> Any:
    """Returns the detector's settings; the model becomes a file here if this machine does not have it."""
    detector = settings.detector
    if model is None or os.path.exists(os.path.expanduser(detector.model)):
        return detector
    from azaion_engine.files.private_folder import private_folder
    from azaion_engine.files.safe_output import SafeOutput

    path = private_folder("models", settings.model_sha256) / Path(detector.model).name
    if not path.exists():
        SafeOutput(overwrite=True).write(path, model)
    return detector.model_copy(update={"model": str(path)})
