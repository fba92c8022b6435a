from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers.compare import difference_of
from benchmarks.service.processor_time import CLOCKS_APART_S, ProcessorTime, process_name

CAR = {"x1": 10.0, "y1": 20.0, "x2": 30.0, "y2": 40.0, "class_id": 0}
TREE = {"x1": 100.0, "y1": 20.0, "x2": 130.0, "y2": 40.0, "class_id": 3}
BUSY_CHILD = """
import time
print("started", flush=True)
input()
begun = time.process_time()
while time.process_time() - begun < 0.2:
    pass
print("worked", flush=True)
input()
"""


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


def test_time_is_counted_for_processes_that_are_younger_than_the_server(tmp_path: Path) -> None:
    # By a name of its own: other tests' processes, which start and work meanwhile, are counted too.
    begun = time.time()
    busy = tmp_path / "busy_child.py"
    busy.write_text(BUSY_CHILD)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(busy)], text=True, bufsize=0, **pipes) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        older, younger = ProcessorTime(begun), ProcessorTime(time.time() + 2 * CLOCKS_APART_S)
        print("work", file=child.stdin, flush=True)
        child.stdout.readline()
        of_older, of_younger = older.per_picture(1), younger.per_picture(1)
        child.kill()

    assert of_older[busy.name] >= 150
    assert busy.name not in of_younger
