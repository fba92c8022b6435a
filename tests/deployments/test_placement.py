"""Placement: one replica per GPU. Ray places them for real, on logical GPUs; the machine needs none."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from ray import serve

from azaion_engine.system.cores import available_cores
from deployments.placement import replicas_for_each_gpu, share_of_a_gpu, share_of_each
from deployments.settings import ServiceSettings
from tests.running_serve import RunningServe, replicas_of, serve_with_gpus
from tests.stand_in import grey_picture, open_shared_two_lanes, open_teller_of_threads


def node(cpus: float, gpus: float, alive: bool = True) -> dict[str, object]:
    resources = {"CPU": cpus, "GPU": gpus, "memory": 1e9}
    return {"Alive": alive, "Resources": {name: number for name, number in resources.items() if number}}


@pytest.mark.parametrize(
    ("nodes", "each"),
    [
        ([], 1),
        ([node(64, 0)], 1),
        ([node(16, 1)], 8),
        ([node(7, 1)], 3),
        ([node(1, 1)], 1),
        ([node(0, 1)], 1),
        ([node(64, 1)], 8),
        ([node(32, 8)], 2),
        ([node(96, 8)], 6),
        ([node(16, 1), node(16, 4), node(64, 0)], 2),
        ([node(16, 1), node(16, 4, alive=False)], 8),
    ],
)
def test_half_of_the_cores_that_a_gpu_has_on_its_node_feed_it(nodes: list[dict[str, object]], each: int) -> None:
    assert replicas_for_each_gpu(nodes) == each


@pytest.fixture
def four_gpus(last_ray_ends) -> Iterator[RunningServe]:
    running = serve_with_gpus()
    yield running
    running.keep_only()  # frees every GPU for the next test's replicas


def test_every_gpu_of_a_node_gets_one_replica_that_sees_only_it(four_gpus):
    app = four_gpus.deploy(num_gpus="auto")
    seen = replicas_of(app, 4)
    assert sorted(devices for devices, _ in seen.values()) == ["0", "1", "2", "3"]
    status = serve.status().applications[app.name].deployments["DetectorDeployment"]
    assert status.replica_states == {"RUNNING": 4}


def test_replicas_that_share_gpus_are_spread_evenly(four_gpus):
    app = four_gpus.deploy(num_gpus=2, replicas_per_gpu=3)
    seen = replicas_of(app, 6)
    devices = sorted(devices for devices, _ in seen.values())
    assert len(set(devices)) == 2
    assert devices == [devices[0]] * 3 + [devices[3]] * 3
    four_gpus.keep_only()

    shared = four_gpus.deploy(open_teller_of_threads, num_gpus=1, replicas_per_gpu=2)
    answers = [shared.handle.describe.remote() for _ in range(12)]
    assert {answer.result()["name"] for answer in answers} == {f"{available_cores()} threads"}  # of their one engine


def test_replicas_that_share_a_gpu_feed_one_engine_and_are_replaced_when_its_process_dies(four_gpus):
    app = four_gpus.deploy(open_shared_two_lanes, num_gpus=1, replicas_per_gpu=3)
    replicas_of(app, 3)
    [engine] = {app.handle.describe.remote().result()["engine"] for _ in range(12)}
    answers = [app.handle.detect.remote(grey_picture(grey)) for grey in range(40)]
    assert [answer.result().detections.class_ids[0] for answer in answers] == list(range(40))

    os.kill(int(engine.rpartition(" ")[2]), signal.SIGKILL)
    deadline = time.monotonic() + 90
    engines: set[str] = {engine}
    while time.monotonic() < deadline and (engine in engines or len(engines) != 1):
        with suppress(Exception):  # a replica that Ray is about to replace
            engines = {app.handle.describe.remote().result(timeout_s=5)["engine"] for _ in range(12)}
        time.sleep(0.1)
    assert engine not in engines
    assert len(engines) == 1
    assert app.handle.detect.remote(grey_picture(9)).result().detections.class_ids[0] == 9


def models(*given):
    return [ServiceSettings(model=f"{number}.onnx", **each) for number, each in enumerate(given)]


def test_several_models_share_every_gpu_evenly_unless_they_name_a_part():
    resources = {"GPU": 2.0, "CPU": 32.0}
    assert share_of_each(models({}, {}, {}), resources) == (3, 1 / 3, 1, 1)
    assert share_of_each(models({}, {"num_gpus": 0.25}), resources) == (2, 1, 1, 1)
    assert share_of_each(models({}, {"engine": "onnx"}, {"num_gpus": 0}), resources) == (3, 1, 1, 1)
    assert share_of_a_gpu(1 / 3, 1) == 0.3333
    assert share_of_a_gpu(0.5, 2) == 0.25
    assert share_of_a_gpu(1, 1) == 1


def test_twenty_models_fit_on_two_cores():
    share = share_of_each(models(*[{}] * 20), {"CPU": 2.0})
    assert (share.models, share.cpus) == (20, 0.1)
    assert 20 * share.cpus <= 2
    more = share_of_each(models(*[{"cpu_replicas": 2}] * 7), {"CPU": 2.0})
    assert more.cpus == 0.1428
    assert 14 * more.cpus <= 2
    assert share_of_each(models({}, {}), {}).cpus == 1
