"""The batch benchmark: a job's rate, in which parts that waited to be written do not count."""

from __future__ import annotations

from pathlib import Path

from azaion_batch.settings import RunSettings
from azaion_engine.settings import DetectorSettings
from benchmarks.library.batch import make_folder, rate_without_ray, steady_rate


def test_parts_that_wait_while_writers_start_do_not_raise_the_rate() -> None:
    detected = [(float(second), 100 * second) for second in range(1, 101)]
    # Nothing is written for 50 seconds, then 400 a second, until there is nothing to wait for.
    written = [(float(second), min(100 * second, 400 * (second - 50))) for second in range(51, 101)]
    assert steady_rate(detected, written) == 100


def test_a_workers_own_rate_is_measured_on_the_parts_of_a_job(tmp_path: Path) -> None:
    settings = DetectorSettings(engine="onnx", model="demo", height=64, width=64)
    make_folder(tmp_path, 24, 64, 64)
    assert rate_without_ray(settings, tmp_path, RunSettings(part_pictures=4), seconds=30) > 0
