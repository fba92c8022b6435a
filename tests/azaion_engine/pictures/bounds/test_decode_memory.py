"""DecodeMemory: decodes wait for each other in order, and never for ever."""

from __future__ import annotations

import threading
import time

import pytest

from azaion_engine.errors import OutOfMemoryError, PictureTooLargeError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory


def test_more_than_the_whole_budget_is_refused_by_name() -> None:
    with (
        pytest.raises(PictureTooLargeError, match="takes 3 MiB of memory, at most 2 MiB"),
        DecodeMemory(2**21).hold(3 * 2**20),
    ):
        pass


def test_waiting_ends_at_its_timeout_and_gives_the_place_up() -> None:
    memory = DecodeMemory(100)
    with memory.hold(60):
        started = time.monotonic()
        with pytest.raises(OutOfMemoryError, match="try again"), memory.hold(60, 0.05):
            pass
        assert 0.04 < time.monotonic() - started < 5
        with memory.hold(40, 0):
            pass


def test_many_threads_never_hold_more_than_the_budget_and_all_come_to_an_end() -> None:
    memory, held, most, lock = DecodeMemory(100), [0], [0], threading.Lock()

    def work(needed: int) -> None:
        for _ in range(20):
            with memory.hold(needed):
                with lock:
                    held[0] += needed
                    most[0] = max(most[0], held[0])
                time.sleep(0.0002)
                with lock:
                    held[0] -= needed

    threads = [threading.Thread(target=work, args=(needed,)) for needed in (10, 30, 50, 70, 100, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert 0 < most[0] <= 100


def test_a_large_decode_is_not_overtaken_for_ever() -> None:
    memory, order = DecodeMemory(100), []
    with memory.hold(50):
        large = threading.Thread(target=lambda: _note(memory, 100, order, "large"))
        large.start()
        while not memory._waiting:
            time.sleep(0.001)
        small = threading.Thread(target=lambda: _note(memory, 10, order, "small"))
        small.start()
        while len(memory._waiting) < 2:
            time.sleep(0.001)
    large.join(10)
    small.join(10)
    assert order == ["large", "small"]


def test_what_must_wait_frees_first_what_it_holds_already() -> None:
    memory, freed = DecodeMemory(100), []
    with (
        memory.hold(50, 0, lambda: freed.append("at once")),
        pytest.raises(OutOfMemoryError),
        memory.hold(60, 0, lambda: freed.append("waited")),
    ):
        pass
    assert freed == ["waited"]


def test_an_error_inside_gives_the_bytes_back() -> None:
    memory = DecodeMemory(100)
    with pytest.raises(ValueError, match="damaged"), memory.hold(100):
        raise ValueError("damaged")
    with memory.hold(100, 0):
        pass


def _note(memory: DecodeMemory, needed: int, order: list[str], name: str) -> None:
    with memory.hold(needed):
        order.append(name)
        time.sleep(0.01)
