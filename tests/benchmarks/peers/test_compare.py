from __future__ import annotations

import time

import psutil
import pytest

from benchmarks.peers.compare import difference_of
from benchmarks.service.processor_time import CLOCKS_APART_S, ProcessorTime, process_name

CAR = {"x1": 10.0, "y1": 20.0, "x2": 30.0, "y2": 40.0, "class_id": 0}
TREE = {"x1": 100.0, "y1": 20.0, "x2": 130.0, "y2": 40.0, "class_id": 3}


def test_the_same_boxes_in_another_order_within_a_pixel_are_the_same_answer() -> None:
    assert difference_of([{**TREE, "x1": 100.9}, CAR], [CAR, TREE]) == ""


@pytest.mark.parametrize(
    ("boxes", "difference"),
    [
        ([CAR], "1 boxes instead of 2"),
        ([CAR, {**TREE, "x1": 102.0}], "no box like"),
        ([CAR, {**TREE, "class_id": 1}], "no box like"),
        ([CAR, CAR], "no box like"),
    ],
    ids=["missing", "moved", "other class", "twice the same"],
)
def test_another_answer_is_told(boxes: list[dict[str, float]], difference: str) -> None:
    assert difference_of(boxes, [CAR, TREE]).startswith(difference)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["ray::ServeReplica:detector:DetectorDeployment"], "ray::ServeReplica:detector:DetectorDeployment"),
        (["/usr/lib/raylet", "--port=1"], "raylet"),
        (["/x/bin/python3.11", "-m", "benchmarks.peers.mosec_server", "--port=1"], "benchmarks.peers.mosec_server"),
        (["/x/bin/python", "-u", "/x/dashboard/dashboard.py", "--host=1"], "dashboard.py"),
        ([], "kernel"),
    ],
)
def test_processes_are_told_apart_by_what_they_run(command: list[str], name: str) -> None:
    assert process_name(command) == name


def test_time_is_counted_for_processes_that_are_younger_than_the_server() -> None:
    born = psutil.Process().create_time()
    everything, nothing = ProcessorTime(born), ProcessorTime(time.time() + CLOCKS_APART_S)
    begun = time.process_time()
    while time.process_time() - begun < 0.2:
        pass

    assert sum(everything.per_picture(1).values()) >= 150
    assert sum(nothing.per_picture(1).values()) < 150
