"""benchmarks.gpu.runner: order, needs, lanes, limits, failures."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from benchmarks.gpu.process import GRACE_S
from benchmarks.gpu.runner import Runner
from tests.benchmarks.gpu.made import FIRST, LANE, SECOND, SLEEP, run, step

SPAN = """
import pathlib, time
begun = time.time()
time.sleep(0.3)
pathlib.Path({path!r}).write_text(f"{{begun}} {{time.time()}}")
"""
"""Writes when it began and when it ended."""
GATE = """
import os, time
open({mine!r}, "w")
end = time.time() + 30
while not os.path.exists({other!r}):
    assert time.time() < end
    time.sleep(0.01)
"""
"""Ends well if another step runs beside it."""


def spans(out: Path, names: str) -> list[tuple[float, float]]:
    found = []
    for name in names:
        begun, ended = (out / name).read_text().split()
        found.append((float(begun), float(ended)))
    return found


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_one_lane_runs_the_steps_in_their_order(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [step("c"), step("a"), step("b")], [LANE])
    assert [(one.name, one.exit_code, one.line) for one in outcomes] == [("c", 0, "c"), ("a", 0, "a"), ("b", 0, "b")]
    assert (tmp_path / "a.txt").read_text() == "a\n"


def test_the_rest_runs_after_a_step_that_fails_but_not_what_needs_it(tmp_path: Path) -> None:
    steps = [
        step("bad", "import sys; print('no such plan'); sys.exit(3)"),
        step("after", needs=("bad",)),
        step("last", needs=("after",)),
        step("other"),
    ]
    outcomes = {one.name: one for one in run(tmp_path, steps, [LANE])}
    assert (outcomes["bad"].exit_code, outcomes["bad"].line, outcomes["bad"].failed) == (3, "no such plan", True)
    assert (outcomes["after"].exit_code, outcomes["after"].line) == (None, "needs bad")
    assert (outcomes["last"].exit_code, outcomes["last"].line) == (None, "needs after")
    assert outcomes["other"].exit_code == 0
    assert "exit 3" in outcomes["bad"].told()
    assert "left out" in outcomes["after"].told()


def test_a_step_that_takes_too_long_is_ended_and_has_failed(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [step("slow", SLEEP, seconds=3), step("next")], [LANE])
    assert outcomes[0].failed
    assert outcomes[0].line == "over its 3 s; asleep"
    assert outcomes[0].seconds < GRACE_S
    assert outcomes[1].exit_code == 0


def test_what_no_longer_fits_is_left_out_and_a_shorter_step_runs(tmp_path: Path) -> None:
    outcomes = run(tmp_path, [step("long", seconds=300), step("short", seconds=20)], [LANE], limit_s=200)
    assert [(one.name, one.exit_code) for one in outcomes] == [("long", None), ("short", 0)]
    assert outcomes[0].line.startswith("may take 300 s, ")


def test_two_lanes_work_side_by_side_and_a_lane_runs_one_step_at_a_time(tmp_path: Path) -> None:
    a, b = str(tmp_path / "a.there"), str(tmp_path / "b.there")
    steps = [step("a", GATE.format(mine=a, other=b)), step("b", GATE.format(mine=b, other=a))]
    assert [one.exit_code for one in run(tmp_path, steps, [FIRST, SECOND])] == [0, 0], "each waits for the other"
    show = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], sorted(os.sched_getaffinity(0)))"
    outcomes = run(tmp_path, [step("alone", show, is_alone=True), step("one", show, gpus=1)], [FIRST, SECOND])
    assert [one.line for one in outcomes] == ["0,1 [0]", "0 [0]"]
    assert [one.gpus for one in outcomes] == [("0", "1"), ("0",)]


@pytest.mark.parametrize("options", [{"uses_ray": True}, {"is_alone": True}])
def test_what_disturbs_others_runs_beside_none_of_them(tmp_path: Path, options: dict[str, bool]) -> None:
    steps = [step(name, SPAN.format(path=str(tmp_path / name)), **options) for name in "abc"]
    assert all(one.exit_code == 0 for one in run(tmp_path, steps, [FIRST, SECOND]))
    first, second, third = spans(tmp_path, "abc")
    assert [overlap(first, second), overlap(second, third), overlap(first, third)] == [False] * 3


def test_no_lane_has_two_steps_at_once(tmp_path: Path) -> None:
    steps = [step(name, SPAN.format(path=str(tmp_path / name)), gpus=1) for name in "abcde"]
    outcomes = {one.name: one.gpus for one in run(tmp_path, steps, [FIRST, SECOND])}
    found = dict(zip("abcde", spans(tmp_path, "abcde"), strict=True))
    pairs = [(one, other) for one in "abcde" for other in "abcde" if one < other and outcomes[one] == outcomes[other]]
    assert len(pairs) >= 4
    assert [pair for pair in pairs if overlap(found[pair[0]], found[pair[1]])] == []


def test_a_record_of_an_earlier_run_does_not_stand_for_a_step_that_fails(tmp_path: Path) -> None:
    for name in ("failing", "left_out"):
        (tmp_path / f"{name}.json").write_text("{}")
    run(tmp_path, [step("failing", "raise SystemExit(1)"), step("left_out", seconds=9999)], [LANE])
    assert [(tmp_path / f"{name}.json").exists() for name in ("failing", "left_out")] == [False, True]


def test_a_host_with_too_few_gpus_is_told(tmp_path: Path) -> None:
    [outcome] = run(tmp_path, [step("two", gpus=2)], [FIRST])
    assert (outcome.exit_code, outcome.line) == (None, "needs 2 GPUs, here 1")


def test_what_was_made_before_is_not_made_again_and_half_a_file_is_removed(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    whole.write_text("made")
    steps = [
        step("whole", "raise SystemExit(1)", makes=whole),
        step("half", f"open({str(half)!r}, 'w').write('ha'); raise SystemExit(1)", makes=half),
    ]
    outcomes = run(tmp_path, steps, [LANE])
    assert [one.exit_code for one in outcomes] == [0, 1]
    assert outcomes[0].line == "made before: whole.onnx"
    assert not half.exists()


def test_what_was_made_before_needs_no_time(tmp_path: Path) -> None:
    made = tmp_path / "model.onnx"
    made.write_text("made")
    steps = [
        step("model", seconds=9000, makes=made),
        step("plan", "raise SystemExit(1)", seconds=9000, needs=("model",), is_kept=True),
        step("measured", "", needs=("plan",)),
    ]
    Runner(steps, [LANE], tmp_path, 200, tell=lambda line: None, succeeded={steps[1].command}).run()
    outcomes = json.loads((tmp_path / "steps.json").read_text())["steps"]
    assert [(one["name"], one["exit_code"]) for one in outcomes] == [("model", 0), ("plan", 0), ("measured", 0)]


def test_a_measurement_runs_again(tmp_path: Path) -> None:
    again = step("measured", "raise SystemExit(1)")
    [outcome] = Runner([again], [LANE], tmp_path, 200, tell=lambda line: None, succeeded={again.command}).run()
    assert outcome.failed


def test_the_record_of_a_run_has_every_outcome(tmp_path: Path) -> None:
    path = tmp_path / "steps-now.json"
    steps = [step("a"), step("b", gpus=9)]
    Runner(steps, [LANE], tmp_path, 600, path, {"machine": {"gpu": None}}, lambda line: None).run()
    record = json.loads(path.read_text())
    assert record["machine"] == {"gpu": None}
    assert [(one["name"], one["exit_code"], one["command"]) for one in record["steps"]] == [
        ("b", None, ["-c", "print('b')"]),
        ("a", 0, ["-c", "print('a')"]),
    ]


def test_after_a_stop_nothing_runs_and_what_was_written_stays(tmp_path: Path) -> None:
    runner = Runner([step("a", SLEEP), step("b")], [LANE], tmp_path, 600, tell=lambda line: None)

    def stop_soon() -> None:
        end = time.monotonic() + 30
        while not (output.exists() and output.stat().st_size) and time.monotonic() < end:
            time.sleep(0.01)
        runner.stop()

    output = tmp_path / "a.txt"
    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    outcomes = runner.run()
    stopper.join()
    assert [(one.name, one.line) for one in outcomes] == [("a", "interrupted; asleep"), ("b", "interrupted")]
    assert outcomes[0].failed
    assert (tmp_path / "a.txt").read_text() == "asleep\n"


def test_a_need_that_does_not_come_before_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a needs b before it"):
        Runner([step("a", needs=("b",)), step("b")], [LANE], tmp_path, 600)
