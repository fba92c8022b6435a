from __future__ import annotations

import os

import pytest

from azaion_engine.system.cores import available_cores


@pytest.mark.parametrize(
    ("content", "expected"), [("100000 100000\n", 1), ("50000 100000\n", 1), ("max 100000\n", None)]
)
def test_a_containers_quota_bounds_the_cores(tmp_path, content, expected):
    (tmp_path / "cpu.max").write_text(content)
    assert available_cores(tmp_path / "cpu.max") == (expected or len(os.sched_getaffinity(0)))


def test_a_generous_quota_or_none_leaves_the_cores_that_the_process_may_use(tmp_path):
    (tmp_path / "cpu.max").write_text("6400000 100000")
    assert available_cores(tmp_path / "cpu.max") == len(os.sched_getaffinity(0))
    assert available_cores(tmp_path / "missing") == len(os.sched_getaffinity(0))
