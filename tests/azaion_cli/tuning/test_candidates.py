from __future__ import annotations

import pytest

from azaion_cli.tuning.candidates import Candidate, Grid, Host, worthwhile

DYNAMIC = -1


@pytest.mark.parametrize(
    ("host", "replicas"),
    [
        (Host(1), (1,)),
        (Host(2), (1, 2)),
        (Host(4), (1, 2, 4)),
        (Host(8), (1, 2, 4, 8)),
        (Host(64), (1, 4, 16, 64)),
        (Host(16, gpus=1), (1, 4, 8)),
        (Host(128, gpus=1), (1, 4, 8)),
        (Host(32, gpus=8), (1, 2)),
        (Host(2, gpus=1), (1,)),
        (Host(2, gpus=8), (1,)),
    ],
)
def test_replicas_reach_from_one_to_what_the_host_has_for_them(host, replicas):
    assert Grid.of(host, DYNAMIC, {}).replicas == replicas


@pytest.mark.parametrize(
    ("host", "model_batch", "fixed", "sizes"),
    [
        (Host(2), DYNAMIC, {}, (1, 2, 4)),
        (Host(16, gpus=1), DYNAMIC, {}, (1, 4, 8, 16, 32)),
        (Host(16, gpus=1), 0, {"max_queue": 8}, (1, 4, 8)),
        (Host(16, gpus=1), 4, {}, (None,)),
        (Host(16, gpus=1), DYNAMIC, {"batch_size": 6}, (6,)),
    ],
)
def test_batch_sizes_are_those_that_model_queue_and_user_allow(host, model_batch, fixed, sizes):
    assert Grid.of(host, model_batch, fixed).batch_sizes == sizes


def test_a_fixed_key_is_not_varied():
    assert Grid.of(Host(16, gpus=1), DYNAMIC, {"replicas_per_gpu": 3, "cpu_replicas": 9}).replicas == (3,)
    assert Grid.of(Host(16, gpus=1), DYNAMIC, {"replicas_per_gpu": "auto"}).replicas == (1, 4, 8)
    assert Grid.of(Host(16), DYNAMIC, {"replicas_per_gpu": 3, "cpu_replicas": 9}).replicas == (9,)


def test_a_candidate_sets_the_keys_of_its_kind_only():
    assert Candidate(4, 16, on_gpu=True).args == {"replicas_per_gpu": 4, "batch_size": 16}
    assert Candidate(2, None, on_gpu=False).args == {"cpu_replicas": 2}


def rows(*measured):
    return [{"batch_size": size, "median_ms": ms, "pictures_per_s": 1000 * size / ms} for size, ms in measured]


GROWING = rows((1, 5), (4, 8), (8, 14), (16, 27.5), (32, 55))


@pytest.mark.parametrize(
    ("alone", "latency", "sizes"),
    [
        (GROWING, 1000, [8, 4]),  # 571/s, and 582/s for four times the latency
        (GROWING, 20, [4, 1]),  # 8 take 14 ms, and twice that is too long
        (GROWING, 1, [1]),  # nothing fits
        (rows((1, 120), (2, 240), (4, 480)), 1000, [1]),  # a CPU gains nothing
    ],
)
def test_the_smallest_batch_near_the_best_rate_comes_first_and_a_smaller_one_second(alone, latency, sizes):
    assert worthwhile(alone, (1, 4, 8, 16, 32), latency) == sizes


def test_batch_sizes_outside_the_grid_are_ignored():
    assert worthwhile(rows((1, 5), (2, 6), (4, 20)), (1, 4), 1000) == [1]


def test_the_estimate_grows_with_what_is_to_be_done():
    small = Grid.of(Host(2), DYNAMIC, {"batch_size": 1})
    assert (small.services, small.sorts) == (2, False)
    assert 60 < small.estimate_s(1) < small.estimate_s(5) < Grid.of(Host(2), DYNAMIC, {}).estimate_s(5)
    assert Grid.of(Host(16, gpus=1), DYNAMIC, {}).estimate_s(5) > 300  # engines are built
