from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from azaion_engine.system.interpreter import SWITCH_INTERVAL_S, freeze_garbage, quick_switches, switch_threads_quickly


@pytest.fixture(autouse=True)
def settings_restored() -> Iterator[None]:
    """Undoes every setting of the process that these tests change."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    assert gc.get_freeze_count() == 0
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)
    gc.unfreeze()


class Ring:
    """An object that only the garbage collector frees."""

    def __init__(self) -> None:
        self.itself = self


def test_threads_switch_more_often_than_python_lets_them() -> None:
    sys.setswitchinterval(0.005)
    switch_threads_quickly()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
    assert sys.getswitchinterval() < 0.005


def test_the_interval_comes_back_after_the_last_of_overlapping_blocks() -> None:
    sys.setswitchinterval(0.004)
    with quick_switches:
        with quick_switches:
            assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
    assert sys.getswitchinterval() == pytest.approx(0.004)


def test_a_quicker_interval_is_left_alone() -> None:
    sys.setswitchinterval(0.00002)
    with quick_switches:
        assert sys.getswitchinterval() == pytest.approx(0.00002)


def test_what_is_alive_is_never_collected_again_and_what_comes_later_is() -> None:
    early = Ring()
    freeze_garbage()
    frozen = weakref.ref(early)
    late = Ring()
    freed = weakref.ref(late)
    del early, late
    gc.collect()
    assert frozen() is not None
    assert freed() is None


def test_garbage_is_collected_before_the_rest_is_frozen() -> None:
    freed = weakref.ref(Ring())
    freeze_garbage()
    assert freed() is None
    assert gc.get_freeze_count() > 0


def test_young_objects_are_collected_a_tenth_as_often() -> None:
    gc.set_threshold(700, 11, 12)
    freeze_garbage()
    assert gc.get_threshold()[:2] == (7000, 11)
