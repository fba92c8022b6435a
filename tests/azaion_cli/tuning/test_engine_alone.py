from __future__ import annotations

import math
import time

import pytest

from azaion_cli.tuning.engine_alone import NotMeasuredError, engine_alone
from azaion_engine.model.file import sample_picture


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(sample_picture())
    return path


def test_measures_every_batch_size_in_a_process_of_its_own(tiny, picture):
    settings = {"model": str(tiny), "engine": "onnx", "threads": 1, "batch_size": 99}
    rows = engine_alone(settings, 4, 0.1, picture, math.inf)
    assert [row["batch_size"] for row in rows] == [1, 2, 4]
    assert all(row["median_ms"] > 0 and row["pictures_per_s"] > 0 for row in rows)


def test_the_reason_is_the_commands_own_message(tiny, picture):
    tiny.write_bytes(b"no model")
    with pytest.raises(NotMeasuredError, match="not an ONNX file"):
        engine_alone({"model": str(tiny), "engine": "onnx"}, 4, 0.1, picture, math.inf)


def test_it_ends_when_the_time_is_over(tiny, picture):
    with pytest.raises(NotMeasuredError, match="in time"):
        engine_alone({"model": str(tiny), "engine": "onnx"}, 4, 60, picture, time.monotonic())
