"""Pipeline: prepares many items in threads, runs them in concurrent full batches, and yields results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from itertools import chain, islice
from time import perf_counter, thread_time
from typing import TypeVar

from azaion_engine.errors import PictureError
from azaion_engine.system.interpreter import quick_switches

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Given = TypeVar("Given")
Made = TypeVar("Made")

_WORTH_S = 0.0005
"""Seconds of preparing a picture for which another thread is worth having: a decode, or a disk that answers late.

Files of pictures that the GPU decodes take less. One thread reads them: a second would take the GIL from it at each
call of the system, and to switch costs more than the work itself.
"""


def run_pipeline(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    run: Callable[[Sequence[Prepared]], Sequence[Result]],
    *,
    batch: int,
    lanes: int,
    threads: int,
) -> Iterator[Result | PictureError]:
    """Yields a result for each item, in the items' order; a bad picture does not stop the others.

    While the engine runs batches on all lanes, threads prepare the next ones; no further items are held in memory.

    Args:
        items: Consumed as needed.
        prepare: Prepares one item, in one of the threads; a PictureError that it raises is that item's result.
        run: Runs the prepared items of one batch and returns a result for each; called from several threads.
        batch: Items per batch.
        lanes: Number of batches worth running concurrently.
        threads: Most threads that prepare; where preparing takes little time, fewer do.

    Raises:
        Exception: Raised by `prepare` or `run`, except PictureError.
    """
    pace = _Pace(batch, threads)

    def prepare_chunk(chunk: Sequence[Item]) -> list[Prepared | PictureError]:
        begun, worked = perf_counter(), thread_time()
        made = [_attempt(prepare, item) for item in chunk]
        pace.took((perf_counter() - begun) / len(chunk), (thread_time() - worked) / len(chunk))
        return made

    def run_held(held: Sequence[Prepared | PictureError]) -> list[Result | PictureError]:
        good = [one for one in held if not isinstance(one, PictureError)]
        results = iter(run(good) if good else ())
        return [one if isinstance(one, PictureError) else next(results) for one in held]

    left = iter(items)
    first = list(islice(left, batch))
    if len(first) < batch or (isinstance(items, Sized) and len(items) == batch):
        # One batch has nothing to run beside: threads would only cost time.
        yield from run_held([_attempt(prepare, item) for item in first])
        return
    # One thread more than lanes: while a batch's boxes are being made, its lane is free.
    with (
        quick_switches,
        ThreadPoolExecutor(1, "prepare") as one_thread,
        ThreadPoolExecutor(threads, "prepare") as many,
        ThreadPoolExecutor(lanes + 1, "run") as running,
    ):
        try:
            chunks = in_order(
                lambda: one_thread if pace.threads == 1 else many,
                prepare_chunk,
                _chunks(chain(first, left), lambda: pace.chunk),
                lambda: pace.threads + -(-batch // pace.chunk),
            )
            batches = _batches((one for chunk in chunks for one in chunk), batch)
            for results in in_order(lambda: running, run_held, batches, lambda: lanes):
                yield from results
        finally:
            one_thread.shutdown(cancel_futures=True)
            many.shutdown(cancel_futures=True)
            running.shutdown(cancel_futures=True)


def in_order(
    pool: Callable[[], ThreadPoolExecutor],
    work: Callable[[Given], Made],
    given: Iterable[Given],
    ahead: Callable[[], int],
) -> Iterator[Made]:
    """Yields the results of a thread pool in the order of what was given.

    Args:
        pool: Returns who does the work from now on; the owner ends it.
        work: Called in the pool with each of the given.
        given: Consumed as needed.
        ahead: Returns the number of tasks that are submitted in advance.

    Raises:
        Exception: Raised by `work`.
    """
    waiting: deque[Future[Made]] = deque()
    for one in given:
        waiting.append(pool().submit(work, one))
        while len(waiting) > ahead():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Pace:
    """How many threads are worth having, by what preparing a picture took of late."""

    def __init__(self, batch: int, most: int) -> None:
        self._batch, self._most = batch, most
        self._seconds: float | None = None

    def took(self, seconds: float, worked: float) -> None:
        """Counts what preparing a picture of a chunk took.

        Args:
            seconds: By the clock.
            worked: Of a processor. Threads that wait for the GIL take as long as all of them work: that is no reason
                for more of them.
        """
        seconds = worked + max(0.0, seconds - self.threads * worked)
        before = self._seconds
        self._seconds = seconds if before is None else before + (seconds - before) / 8

    @property
    def threads(self) -> int:
        """Number of threads; all until it is known what a picture takes."""
        return self._most if self._seconds is None else min(self._most, 1 + int(self._seconds / _WORTH_S))

    @property
    def chunk(self) -> int:
        """Pictures of a task: handing over one that the GPU decodes costs as much as preparing it.

        No more than this, because each thread holds a chunk of decoded pictures; few until it is known what they take.
        """
        return max(1, self._batch // self.threads)


def _chunks(items: Iterable[Item], size: Callable[[], int]) -> Iterator[list[Item]]:
    left = iter(items)
    while chunk := list(islice(left, size())):
        yield chunk


def _batches(prepared: Iterable[Prepared | PictureError], batch: int) -> Iterator[list[Prepared | PictureError]]:
    """Groups items so that each group except the last contains a full batch of valid ones, or twice as many items.

    The second bound keeps a long run of bad pictures from being read, and held, without a result.
    """
    held: list[Prepared | PictureError] = []
    good = 0
    for one in prepared:
        held.append(one)
        good += not isinstance(one, PictureError)
        if good == batch or len(held) == 2 * batch:
            yield held
            held, good = [], 0
    if held:
        yield held


def _attempt(prepare: Callable[[Item], Prepared], item: Item) -> Prepared | PictureError:
    try:
        return prepare(item)
    except PictureError as error:
        return copy(error)  # a copy has no traceback, whose frames would keep the picture's bytes alive
