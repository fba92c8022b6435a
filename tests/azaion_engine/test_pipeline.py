"""Pipeline: order, full batches, bad items, bounded memory, and no thread left behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azaion_engine.errors import PictureError
from azaion_engine.pipeline import _Pace, run_pipeline

PATIENCE_S = 10
"""Timeout of every wait here, in seconds: a defect fails the test instead of hanging it."""


class Work:
    """Prepares a number as its negative, refuses the bad ones, and gives ten times what it prepared."""

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = frozenset(bad)
        self.sizes: list[int] = []

    def prepare(self, item: int) -> int:
        if item in self.bad:
            raise PictureError(f"item {item}")
        return -item

    def run(self, batch: Sequence[int]) -> list[int]:
        self.sizes.append(len(batch))
        return [10 * prepared for prepared in batch]

    def expected(self, items: int) -> list[int | str]:
        return [f"item {item}" if item in self.bad else -10 * item for item in range(items)]


def readable(results: Iterator[int | PictureError]) -> list[int | str]:
    return [str(result) if isinstance(result, PictureError) else result for result in results]


def workers() -> list[str]:
    """Returns the names of the pipeline's threads that are alive."""
    return [t.name for t in threading.enumerate() if t.name.startswith(("prepare_", "run_"))]


@given(
    items=st.integers(0, 40),
    bad=st.sets(st.integers(0, 39)),
    batch=st.integers(1, 7),
    lanes=st.integers(1, 3),
    threads=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_each_item_gets_its_own_result_in_order_and_batches_are_full_but_for_bad_runs_and_the_end(
    items: int, bad: set[int], batch: int, lanes: int, threads: int
) -> None:
    work = Work([item for item in bad if item < items])
    found = readable(run_pipeline(range(items), work.prepare, work.run, batch=batch, lanes=lanes, threads=threads))
    assert found == work.expected(items)
    assert sum(work.sizes) == items - len(work.bad)
    # A batch that is not full is the last one, or ends a group of which more than half was bad.
    assert len([size for size in work.sizes if size < batch]) <= 1 + len(work.bad) // (batch + 1)


@pytest.mark.parametrize(
    "bad",
    [[0], [9], [3], [4], [0, 1, 2, 3], [6, 7, 8, 9], [3, 4, 5], range(9), range(10)],
    ids=["first", "last", "last of a batch", "first of a batch", "front", "back", "middle", "all but one", "all"],
)
def test_bad_items_stop_nothing_wherever_they_are(bad: Sequence[int]) -> None:
    work = Work(bad)
    assert readable(run_pipeline(range(10), work.prepare, work.run, batch=4, lanes=2, threads=3)) == work.expected(10)
    assert sum(work.sizes) == 10 - len(bad)
    assert 0 not in work.sizes


def test_the_order_is_kept_where_a_later_item_is_prepared_first() -> None:
    later = threading.Event()

    def prepare(item: int) -> int:
        if item == 0:
            assert later.wait(PATIENCE_S)
        if item == 1:
            later.set()
        return item

    assert list(run_pipeline(range(12), prepare, list, batch=4, lanes=1, threads=4)) == list(range(12))


def test_the_order_is_kept_where_a_later_batch_ends_first() -> None:
    later = threading.Event()

    def run(batch: Sequence[int]) -> Sequence[int]:
        if batch[0] == 0:
            assert later.wait(PATIENCE_S)
        else:
            later.set()
        return batch

    assert list(run_pipeline(range(12), int, run, batch=4, lanes=1, threads=4)) == list(range(12))


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_one_batch_more_than_there_are_lanes_runs_at_a_time(lanes: int) -> None:
    together = threading.Barrier(lanes + 1)
    lock = threading.Lock()
    now, most = 0, 0

    def run(batch: Sequence[int]) -> Sequence[int]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        together.wait(PATIENCE_S)
        with lock:
            now -= 1
        return batch

    items = range(2 * 3 * (lanes + 1))
    assert list(run_pipeline(items, int, run, batch=2, lanes=lanes, threads=2)) == list(items)
    assert most == lanes + 1


def test_the_next_batch_is_prepared_while_one_runs() -> None:
    prepared = threading.Event()

    def prepare(item: int) -> int:
        if item == 7:
            prepared.set()
        return item

    def run(batch: Sequence[int]) -> Sequence[int]:
        assert prepared.wait(PATIENCE_S)
        return batch

    assert list(run_pipeline(range(8), prepare, run, batch=4, lanes=1, threads=2)) == list(range(8))


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_items_that_take_long_are_prepared_by_all_threads(threads: int) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def prepare(item: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return item

    items = range(12 * threads)
    assert list(run_pipeline(items, prepare, list, batch=threads, lanes=1, threads=threads)) == list(items)
    assert threads <= most <= threads + 1  # of one thread, the first may still be at work


def test_items_that_take_no_time_are_prepared_by_one_thread() -> None:
    items: Counter[int] = Counter()

    def prepare(item: int) -> int:
        items[threading.get_ident()] += 1
        return item

    for _ in run_pipeline(range(20_000), prepare, list, batch=16, lanes=1, threads=16):
        pass
    assert max(items.values()) > 15_000  # others' load may make some seem slow


@pytest.mark.parametrize(
    ("seconds", "worked", "threads"),
    [
        (8 * 0.00015, 0.00015, 1),  # all eight waited for each other
        (0.00015, 0.00015, 1),
        (0.0024, 0.0001, 4),  # a disk that answers late
        (0.0008, 0.0008, 2),
        (0.02, 0.02, 8),  # a decode
    ],
)
def test_threads_are_as_many_as_waits_and_work_are_worth(seconds: float, worked: float, threads: int) -> None:
    pace = _Pace(batch=32, most=8)
    pace.took(seconds, worked)
    assert (pace.threads, pace.chunk) == (threads, 32 // threads)


def test_a_batch_of_one_and_more_threads_than_items_are_fine() -> None:
    work = Work([2])
    assert readable(run_pipeline(range(3), work.prepare, work.run, batch=1, lanes=1, threads=16)) == [0, -10, "item 2"]
    assert work.sizes == [1, 1]


def test_no_items_give_no_results_and_run_nothing() -> None:
    work = Work()
    assert list(run_pipeline([], work.prepare, work.run, batch=4, lanes=1, threads=2)) == []
    assert work.sizes == []


def test_a_picture_error_that_run_gives_for_one_item_is_its_result() -> None:
    def run(batch: Sequence[int]) -> list[int | PictureError]:
        return [PictureError("the GPU cannot decode it") if item == 1 else item for item in batch]

    assert readable(run_pipeline(range(4), int, run, batch=4, lanes=1, threads=2)) == [
        0, "the GPU cannot decode it", 2, 3,
    ]  # fmt: skip


class Counted:
    """An infinite iterable of numbers that counts those taken; more than `most` fail the test."""

    def __init__(self, most: int = 10_000) -> None:
        self.taken = 0
        self._most = most

    def __iter__(self) -> Iterator[int]:
        for item in count():
            assert item < self._most, "items are consumed without bound"
            self.taken += 1
            yield item


def test_nothing_is_consumed_before_the_first_result_is_asked_for() -> None:
    items = Counted()
    results = run_pipeline(items, int, list, batch=4, lanes=1, threads=2)
    assert items.taken == 0
    assert workers() == []
    assert next(results) == 0
    results.close()


@pytest.mark.parametrize(("batch", "lanes", "threads"), [(1, 1, 1), (4, 1, 2), (4, 2, 8), (16, 2, 4)])
def test_items_without_end_are_consumed_a_few_batches_ahead(batch: int, lanes: int, threads: int) -> None:
    items = Counted()
    results = run_pipeline(items, int, list, batch=batch, lanes=lanes, threads=threads)
    size = max(1, batch // threads)
    # Batches that run or wait, the one that results are taken from, and the next, in chunks.
    most = (lanes + 2) * batch + batch + (threads + 2) * size
    for item in range(20 * batch):
        assert next(results) == item
        assert items.taken - item <= most
    results.close()


def test_bad_items_without_end_are_consumed_a_few_batches_ahead() -> None:
    items, work = Counted(200), Work(range(200))
    results = run_pipeline(items, work.prepare, work.run, batch=4, lanes=1, threads=2)
    assert str(next(results)) == "item 0"
    results.close()


def test_an_error_of_run_reaches_the_caller_after_the_results_before_it_and_ends_the_threads() -> None:
    def run(batch: Sequence[int]) -> Sequence[int]:
        if 8 in batch:
            raise MemoryError("the third batch")
        return batch

    items = Counted()
    results = run_pipeline(items, int, run, batch=4, lanes=1, threads=2)
    assert [next(results) for _ in range(8)] == list(range(8))
    with pytest.raises(MemoryError, match="the third batch"):
        next(results)
    assert workers() == []
    assert items.taken < 100


def test_an_error_of_prepare_that_is_no_picture_error_reaches_the_caller_and_ends_the_threads() -> None:
    def prepare(item: int) -> int:
        if item == 10:
            raise ZeroDivisionError("item 10")
        return item

    items = Counted()
    with pytest.raises(ZeroDivisionError, match="item 10"):
        list(run_pipeline(items, prepare, list, batch=4, lanes=1, threads=2))
    assert workers() == []
    assert items.taken < 100


def test_an_error_of_the_items_reaches_the_caller_and_ends_the_threads() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise OSError("the folder is gone")

    with pytest.raises(OSError, match="the folder is gone"):
        list(run_pipeline(items(), int, list, batch=4, lanes=1, threads=2))
    assert workers() == []


def test_closing_early_ends_the_threads_and_runs_nothing_more() -> None:
    items, work = Counted(), Work()
    results = run_pipeline(items, work.prepare, work.run, batch=4, lanes=2, threads=3)
    assert next(results) == 0
    assert workers() != []
    results.close()
    assert workers() == []
    taken, ran = items.taken, len(work.sizes)
    assert list(results) == []
    assert (items.taken, len(work.sizes)) == (taken, ran)


def test_closing_early_waits_for_the_item_in_work_and_drops_those_behind_it() -> None:
    started: list[int] = []
    closing = threading.Event()

    def prepare(item: int) -> int:
        started.append(item)
        if item == 2:  # the first that the first result does not need
            assert closing.wait(PATIENCE_S)
        return item

    items = Counted()
    results = run_pipeline(items, prepare, list, batch=1, lanes=1, threads=1)
    assert next(results) == 0
    assert items.taken > 2
    threading.Timer(0.2, closing.set).start()
    results.close()
    assert set(started) <= {0, 1, 2}
    assert workers() == []


def test_the_threads_end_with_the_last_result() -> None:
    results = run_pipeline(range(8), int, list, batch=4, lanes=1, threads=2)
    assert list(results) == list(range(8))
    assert workers() == []
