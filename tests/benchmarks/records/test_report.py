from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.records.report import insert, ours_over_best_peer, saturated, summarise, table
from tests.benchmarks.records.made import load, measured, record_of

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"

RECORD = record_of(
    (10.0, [measured("azaion", 1, load(1, 5.0), load(2, 9.0)), measured("mosec", 2, load(2, 8.0, errors=3))]),
    (20.0, [measured("azaion", 1, load(1, 12.0), load(2, 19.0)), measured("mosec", 2, load(2, 20.0))]),
    (10.0, [measured("azaion", 1, load(1, 5.5), load(2, 9.2)), measured("mosec", 2, load(2, 8.0))]),
)


def test_a_load_is_the_median_of_its_rounds_and_its_ratio_is_taken_within_each_round() -> None:
    one = next(found for found in summarise(RECORD) if found.server == "azaion" and found.connections == 2)

    assert one.rate == 9.2
    assert one.ratio == pytest.approx(0.92)  # of 0.9, 0.95, 0.92; the rates' medians would say 9.2 / 10 too
    assert summarise(RECORD)[0].ratio == pytest.approx(0.55)  # of 0.5, 0.6, 0.55


def test_errors_of_all_rounds_add_up() -> None:
    [mosec] = [found for found in summarise(RECORD) if found.server == "mosec"]

    assert mosec.errors == 3


def test_of_several_numbers_of_workers_the_one_with_the_best_rate_is_kept() -> None:
    record = record_of(
        (10.0, [measured("mosec", 1, load(2, 7.0), load(4, 6.0)), measured("mosec", 2, load(2, 6.5), load(4, 8.0))])
    )

    assert [(found.workers, found.connections) for found in summarise(record)] == [(2, 2), (2, 4)]


def test_the_saturating_load_is_the_one_with_the_best_rate() -> None:
    record = record_of((10.0, [measured("azaion", 1, load(1, 5.0), load(4, 9.0), load(8, 8.5))]))

    assert [found.connections for found in saturated(summarise(record))] == [4]


def test_ours_is_compared_with_the_best_peer_round_by_round() -> None:
    record = record_of(
        (
            10.0,
            [
                measured("azaion", 1, load(2, 9.0)),
                measured("mosec", 2, load(2, 8.0)),
                measured("bentoml", 2, load(2, 6.0)),
            ],
        ),
        (
            5.0,
            [
                measured("azaion", 1, load(2, 4.0)),
                measured("mosec", 2, load(2, 5.0)),
                measured("bentoml", 2, load(2, 3.0)),
            ],
        ),
    )
    ratio, ours, peer = ours_over_best_peer(record)

    assert (ours, peer) == ("azaion", "mosec")
    assert ratio == pytest.approx((9 / 8 + 4 / 5) / 2)


def test_the_short_table_has_one_line_a_server() -> None:
    short, long = table(RECORD, short=True), table(RECORD)

    assert "| azaion-engine | 1 | 2 | 9.20 | 100 | 200 | 400 | 0 | 0.920 |" in short
    assert "| azaion-engine | 1 | 1 | 5.50 | 100 | 200 | 400 | 0 |" in long
    assert (short.count("azaion-engine"), long.count("azaion-engine")) == (1, 2)
    assert "| pipeline in process |  |  | 10.00 |" in short


def test_on_a_gpu_rates_are_compared_with_the_engine_alone() -> None:
    record = {**RECORD, "machine": {**RECORD["machine"], "gpu": "a GPU"}}

    assert summarise(record)[0].ratio == pytest.approx(0.55 / 1.2)
    lines = table(record, short=True).splitlines()
    assert lines[0].endswith("| of the engine alone |")
    assert "| engine alone |  |  | 12.00 |  |  |  |  | 1 |" in lines


def test_a_table_replaces_the_one_between_its_marks() -> None:
    before = "a\n<!-- cpu.json -->\nold\n\nold\n<!-- end -->\nb\n"

    assert insert(before, "cpu.json", "new") == "a\n<!-- cpu.json -->\nnew\n<!-- end -->\nb\n"


def test_a_file_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one '<!-- cpu.json -->'"):
        insert("a\n<!-- gpu.json -->\n<!-- end -->\n", "cpu.json", "new")


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*_peers.json")), ids=lambda file: file.name)
def test_committed_results_say_where_they_come_from_and_every_answer_was_right(file: Path) -> None:
    record = json.loads(file.read_text())

    assert record["machine"].keys() >= {"date", "commit", "command", "cpu", "cores", "load_generator", "packages"}
    servers = {one["server"] for measured_round in record["rounds"] for one in measured_round["servers"]}
    assert servers == {"azaion-throughput", "mosec", "litserve", "bentoml", "pytriton"} == record["versions"].keys()
    for found in summarise(record):
        assert found.errors == 0
        assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms
