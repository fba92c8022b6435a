"""BuildProgress: the share done of TensorRT's nested phases."""

from __future__ import annotations

import ctypes
import logging
import time

import pytest

from azaion_engine.engines.tensorrt.build.progress import BuildProgress


def test_an_inner_phase_is_a_part_of_one_step_of_the_phase_around_it() -> None:
    progress = BuildProgress()
    assert progress.fraction() is None
    progress.phase("engine", 1, 4)
    assert progress.fraction() == 0.25
    progress.phase("tactics", 5, 10)
    assert progress.fraction() == 0.375
    progress.phase_done("tactics")
    progress.phase("engine", 2, 4)
    assert progress.fraction() == 0.5
    progress.stage("loading")
    assert progress.fraction() is None


def test_phases_of_no_steps_or_too_many_stay_within_the_whole() -> None:
    progress = BuildProgress()
    progress.phase("odd", 3, 0)
    assert progress.fraction() == 1.0


def test_a_call_that_holds_the_interpreter_is_told_of_too(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "azaion_engine")
    with BuildProgress(interval_s=0.2) as progress:
        progress.stage("loading the builder")
        caplog.clear()
        with progress.spoken_elsewhere():
            ctypes.PyDLL(None).usleep(900_000)  # holds the GIL: no other thread of this process runs
        lines = capfd.readouterr().err.splitlines()
        assert len([line for line in lines if line.endswith("elapsed, loading the builder")]) >= 2
        assert not caplog.records
        time.sleep(0.5)
        assert caplog.records
    assert capfd.readouterr().err.count("elapsed") == 0
