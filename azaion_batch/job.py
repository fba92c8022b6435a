"""Job: the pipeline on Ray Data: read, detect, write; what is written already is left out."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from azaion_batch.cluster import READS, TASK_CPUS, WRITES, WRITES_OF_GPU, Workers
from azaion_batch.parts import Part, Writer, has_failures, part_of, remove_leftovers, written
from azaion_batch.plan import WINDOWS, Chunk, Plan
from azaion_batch.settings import BatchSettings, RunSettings
from azaion_batch.sources.entry import Entry
from azaion_batch.sources.naming import names_of
from azaion_batch.stages.detecting import CALLS, Detecting
from azaion_batch.stages.reading import Reader
from azaion_batch.stages.windows import WindowReader, network_of, shares_of
from azaion_batch.storage import Place
from azaion_engine.errors import ConfigurationError, quote, reason
from azaion_engine.files.sources import Source
from azaion_engine.model.file import ModelFile

_RETRIES = 2
"""Retries of a chunk whose worker died. A chunk that kills its worker fails those beside it, too: a second pass does
what the first left out, one by one, with one retry."""
_QUEUE = 2
"""Calls that a worker has been given for each that it works on: Ray Data gives out new ones every 0.1 s at best."""
_TOGETHER = 4
"""Chunks of one call of a worker with a GPU, at most: Ray Data needs some hundredths of a second of Python for a call,
in which the worker's other threads cannot feed the GPU."""


@dataclass(frozen=True)
class Job:
    """What there is to do.

    Attributes:
        out: Folder or prefix of the output.
        settings: What to detect.
        run: How to run.
        chunks: Chunks of all sources of this run, in order.
        left: Those without a part.
        names: What names the sources of this run in a document, by the identity of their entry.
        network: (height, width) of the network's input if there are `tiled` scenes, else zeros.
    """

    out: Place
    settings: BatchSettings
    run: RunSettings
    chunks: list[Chunk]
    left: list[Chunk]
    names: dict[str, Source]
    network: tuple[int, int]


@contextmanager
def planned_job(out: Place, settings: BatchSettings, run: RunSettings, entries: Iterable[Entry]) -> Iterator[Job]:
    """Plans a job and holds its output against other runs on this machine's disks.

    Args:
        out: Folder or prefix of the output; made if missing.
        settings: What to detect.
        run: How to run.
        entries: The sources.

    Raises:
        ConfigurationError: Another run writes there, or a plan is damaged.
        OSError: The output cannot be read or written.
    """
    with _held(out):
        remove_leftovers(out)
        key = settings.key()
        (out / "settings" / f"{key}.json").write(json.dumps(settings.described(), indent=2).encode())
        wanted = {entry.identity: entry for entry in entries}
        network = network_of(settings) if any(entry.kind == "tiled" for entry in wanted.values()) else (0, 0)
        plan = Plan(out, key, run, partial(shares_of, settings=settings, network=network))
        earlier = list(plan.chunks.values())
        plan.extend(wanted)
        failed = _failed(out, plan, wanted) if run.retry_failed else set()
        done = written(out) - failed
        if changed := dict(_changed(earlier, wanted, done, failed)):
            plan.amend(changed)
        chunks = list(_of_this_run(plan, wanted))
        left = _left(chunks, done, failed, written(out, WINDOWS))
        yield Job(out, settings, run, chunks, left, names_of(list(wanted.values())), network)


def _of_this_run(plan: Plan, wanted: Mapping[str, Entry]) -> Iterator[Chunk]:
    """Yields the chunks with entries of this run, or with shares of one of their scenes."""
    addresses = {entry.place.address for entry in wanted.values()}
    for chunk in plan.chunks.values():
        for entry in chunk.entries:
            if entry.place.address in addresses if entry.kind == "windows" else entry.identity in wanted:
                yield chunk
                break


def _failed(out: Place, plan: Plan, wanted: Mapping[str, Entry]) -> set[str]:
    """Returns the names of the parts that are damaged, or in which one of this run's entries failed."""
    done = written(out)
    return {
        chunk.id
        for chunk in _of_this_run(plan, wanted)
        if chunk.id in done
        and has_failures(out, chunk.id, {entry.source for entry in chunk.entries if entry.identity in wanted})
    }


def _changed(
    chunks: Iterable[Chunk], wanted: Mapping[str, Entry], done: Container[str], failed: Container[str]
) -> Iterator[tuple[str, Entry]]:
    """Yields the entries that are left and are not what they were when they were planned, by identity.

    Scenes that failed are among them: their files may have another size by now.
    """
    for chunk in chunks:
        for entry in chunk.entries if chunk.id not in done and chunk.kind != "windows" else ():
            now = wanted.get(entry.identity, entry)
            if (now.kind, now.column) != (entry.kind, entry.column) or (now.kind == "tiled" and chunk.id in failed):
                yield entry.identity, now


def _left(chunks: list[Chunk], done: set[str], failed: set[str], read: set[str]) -> list[Chunk]:
    """Returns the chunks that have no part, or one that is to be done again.

    Args:
        chunks: Those of this run.
        done: Names of the parts that are there, without those of `failed`.
        failed: Names of the parts that are to be done again.
        read: Names of the parts of windows that are there.
    """
    # All windows of a scene are read again: it may be another file by now.
    read = read - {name for chunk in chunks if chunk.id in failed for name in chunk.windows}
    # The windows of a merged scene are not needed any more.
    needed = {name for chunk in chunks if chunk.id not in done for name in chunk.windows} - read
    done = done | {chunk.id for chunk in chunks if chunk.kind == "windows" and chunk.id not in needed}
    return [chunk for chunk in chunks if chunk.id not in done]


def reader_of(job: Job) -> Reader:
    """Returns what reads the chunks of a job."""
    windows = WindowReader(job.out, job.settings, job.network)
    return Reader(job.settings.detector.max_picture_bytes, windows)


def parts_of(job: Job, workers: Workers) -> Iterator[Part]:
    """Yields the parts as they are written, in any order, until all are there.

    Args:
        job: What to do.
        workers: Of a Ray that runs.

    Raises:
        AzaionError: The engine cannot be opened.
        OSError: A part cannot be written.
    """
    # Machines of a cluster may lack the model's file.
    model = ModelFile.read(job.settings.detector.model).data if workers.machines > 1 else None
    missing = {chunk.id for chunk in job.left}
    for stage in (_is_first, _is_second):
        left = [chunk for chunk in job.left if stage(chunk) and missing.isdisjoint(chunk.windows)]
        for some, calls, retries in ((workers, CALLS, _RETRIES), (workers.apart(), 1, 1)):
            for row in _rows(left, job, some, model, calls, retries) if left else ():
                if row["failure"] is not None:
                    raise pickle.loads(row["failure"])
                part = part_of(row["part"])
                missing.discard(part.id)
                yield part
            left = [chunk for chunk in left if chunk.id in missing]


def _is_first(chunk: Chunk) -> bool:
    return chunk.kind != "tiled"


def _is_second(chunk: Chunk) -> bool:
    """Returns whether a chunk is a scene that is merged of other chunks' rows."""
    return chunk.kind == "tiled"


def _rows(
    chunks: list[Chunk], job: Job, workers: Workers, model: bytes | None, calls: int, retries: int
) -> Iterator[dict[str, Any]]:
    """Runs the three stages on chunks, and yields what the last one returns."""
    import ray.data

    gc.collect()  # ends workers of an earlier pass that Ray had to start again: Ray Data leaves their GPU to it
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its errors tell why a part is left out
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a chunk whose workers died again and again is left out
    on_disk = all(chunk.is_on_disk for chunk in chunks)  # others' pictures take memory while they wait
    together = 1
    if workers.gpus and on_disk and calls > 1:  # no more than leaves a full queue to each worker
        together = max(1, min(_TOGETHER, len(chunks) // (_QUEUE * calls * workers.most)))
    blocks = min(len(chunks) // together, 10_000)
    source = ray.data.from_items([{"work": chunk.to_line()} for chunk in chunks], override_num_blocks=blocks)
    if not on_disk:
        source = _read(source, chunks, job, workers)
    writer = Writer(job.out)
    writes = min(len(chunks), (WRITES_OF_GPU if workers.gpus else WRITES) * workers.most)
    if workers.gpus:  # while the engines open: imports beside them take a tenth of the first seconds' rate
        _prepare_to_write(writes)
    pool = ray.data.ActorPoolStrategy(
        min_size=1,
        max_size=workers.most,
        initial_size=min(workers.most, len(chunks)),
        max_tasks_in_flight_per_actor=_QUEUE * calls if calls > 1 else 1,
        max_concurrent_calls_per_actor=calls,
        enable_true_multi_threading=True,
    )
    with warnings.catch_warnings():
        # Ray 2.60 has no other way to bound an actor's retries than the one that it calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        rows: Iterator[dict[str, Any]] = (
            source.map_batches(
                Detecting,
                fn_constructor_args=(job.settings, workers.threads, model, workers.shared),
                batch_size=together,
                batch_format="pyarrow",
                zero_copy_batch=True,
                compute=pool,
                num_cpus=workers.cpus,
                num_gpus=workers.gpus,
                ray_remote_args_fn=partial(dict, max_task_retries=retries),  # Ray Data's own default is for ever
            )
            .map_batches(
                writer.__call__,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(writes),
                num_cpus=TASK_CPUS,
            )
            .iter_rows()
        )
    return rows


def _prepare_to_write(processes: int) -> None:
    """Has idle processes of Ray import what writing needs, and waits for none: tasks that write will find them."""
    import ray

    # On all machines, as Ray Data's tasks are.
    importing = ray.remote(num_cpus=TASK_CPUS, scheduling_strategy="SPREAD")(_import_packages)
    for _ in range(processes):
        importing.remote()


def _import_packages() -> None:
    for name in ("ray.data", "pyarrow.parquet"):
        import_module(name)


def _read(source: Any, chunks: list[Chunk], job: Job, workers: Workers) -> Any:
    """Adds the stage that reads what workers do not read themselves."""
    import ray.data

    # Windows are decoded where they are read; without GPUs, the network needs longer for them than that takes.
    reads = workers.threads if workers.gpus and any(chunk.kind == "windows" for chunk in chunks) else READS
    return source.map_batches(
        reader_of(job).__call__,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(min(len(chunks), reads * workers.most)),
        num_cpus=TASK_CPUS,
    )


@contextmanager
def _held(out: Place) -> Iterator[None]:
    """Keeps other runs on this machine out of an output; a bucket has no locks, and needs none: parts are equal."""
    if not out.is_local:
        yield
        return
    import os

    from filelock import FileLock, Timeout

    try:
        os.makedirs(out.path, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigurationError(f"out: expected a folder, given {quote(out.path)}: {reason(error)}") from error
    lock = FileLock(f"{out.path}/.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigurationError(f"another run writes into {out.path}; wait for it, or name another folder") from None
    try:
        yield
    finally:
        lock.release()
