from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.records.record import ours_over_best_peer, saturated, summarise
from tests.benchmarks.records.made import RECORD, load, measured, record_of

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def test_a_load_is_the_median_of_its_rounds_and_its_ratio_is_taken_within_each_round() -> None:
    one = next(found for found in summarise(RECORD) if found.server == "azaion" and found.connections == 2)

    assert one.rate == 9.2
    assert one.ratio == pytest.approx(0.92)  # median of 0.9, 0.95 and 0.92; here the medians' ratio, 9.2 / 10, too
    assert summarise(RECORD)[0].ratio == pytest.approx(0.55)  # median of 0.5, 0.6 and 0.55


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


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*_peers.json")), ids=lambda file: file.name)
def test_committed_results_say_where_they_come_from_and_every_answer_was_right(file: Path) -> None:
    record = json.loads(file.read_text())

    assert record["machine"].keys() >= {"date", "commit", "command", "cpu", "cores", "load_generator", "packages"}
    servers = {one["server"] for measured_round in record["rounds"] for one in measured_round["servers"]}
    assert servers == {"azaion-throughput", "mosec", "litserve", "bentoml", "pytriton"} == record["versions"].keys()
    for found in summarise(record):
        assert found.errors == 0
        assert 0 < found.p50_ms <= found.p95_ms <= found.p99_ms
