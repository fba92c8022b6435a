"""Deployment on a real Serve, called through its handle, with a stand-in engine that takes 20 ms per batch."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import ray
from ray import serve

from azaion_engine.errors import (
    GpuLostError,
    InvalidParameterError,
    InvalidTensorError,
    UndecodablePictureError,
    UnsupportedPictureError,
)
from deployments.errors import DeadlineExceededError, OverloadedError
from tests.running_serve import replicas_of
from tests.stand_in import (
    BROKEN,
    LOST,
    POISON,
    engine_report,
    grey_picture,
    open_slow_stand_in,
    open_stand_in,
    open_steady_stand_in,
    open_two_lanes,
    open_very_slow_stand_in,
)

OF_THIS_MODULE = (
    (open_stand_in, {}),
    (open_stand_in, {"num_gpus": "auto"}),
    (open_stand_in, {"num_gpus": 0, "cpu_replicas": 2}),
    (open_steady_stand_in, {}),
    (open_slow_stand_in, {}),
    (open_slow_stand_in, {"batch_size": 2}),
    (open_slow_stand_in, {"batch_size": 2, "max_queue": 4}),
    (open_very_slow_stand_in, {"batch_size": 2}),
    (open_two_lanes, {"batch_size": 4}),
)
"""Applications that the shared ones do not replace; each is of one test, or of tests that leave it whole."""


@pytest.fixture(scope="module", autouse=True)
def all_at_once(running_serve):
    running_serve.deploy_together(*OF_THIS_MODULE)


def test_a_picture_gets_its_own_boxes_in_its_own_pixels(running_serve):
    app = running_serve.plain()
    answer = app.handle.detect.remote(grey_picture(7, size=64)).result()
    [box] = answer.detections
    assert (box.x1, box.y1, box.x2, box.y2) == (8, 16, 40, 48)
    assert box.class_id == 7
    assert answer.times.engine >= 20
    assert answer.times.total >= answer.times.engine


def test_every_caller_gets_the_answer_to_its_own_picture(running_serve):
    app = running_serve.plain()
    responses = [app.handle.detect.remote(grey_picture(value)) for value in range(100)]
    assert [response.result().detections.class_ids.tolist() for response in responses] == [[v] for v in range(100)]


def test_callers_that_keep_coming_fill_the_batches(running_serve):
    app = running_serve.deploy(open_steady_stand_in)

    async def caller(number: int) -> list[int]:
        picture, sizes = grey_picture(number), []
        for _ in range(12):
            answer = await app.handle.detect.remote(picture, confidence=0.05)
            sizes.append(engine_report(answer)[0])
        return sizes

    async def callers() -> list[list[int]]:
        return await asyncio.gather(*map(caller, range(32)))

    sizes = [size for caller_sizes in asyncio.run(callers()) for size in caller_sizes]
    assert max(sizes) == 16
    # Serve's own timer alone makes far smaller batches here.
    assert sum(sizes) / len(sizes) >= 12


def test_rows_of_the_network_share_batches_with_pictures(running_serve):
    app = running_serve.deploy(open_slow_stand_in)
    busy = app.handle.detect.remote(grey_picture(1))
    time.sleep(0.2)
    rows = [app.handle.infer_row.remote(np.full((3, 32, 32), value / 255, np.float32)) for value in range(3)]
    pictures = [app.handle.detect.remote(grey_picture(value), confidence=0.05) for value in range(3, 6)]
    assert [engine_report(picture.result())[0] for picture in pictures] == [6] * 3
    assert [row.result().rows[0, 5] for row in rows] == [0, 1, 2]
    assert len({row.result().times.batch_started for row in rows}) == 1
    busy.result()


def test_a_row_that_does_not_fit_fails_alone(running_serve):
    app = running_serve.plain()
    good = app.handle.infer_row.remote(np.zeros((3, 32, 32), np.float16))
    with pytest.raises(InvalidTensorError, match=r"\[n, 3, 32, 32\]"):
        app.handle.infer_row.remote(np.zeros((3, 8, 8), np.float32)).result()
    assert good.result().rows.shape == (300, 6)


def test_a_bad_picture_fails_alone(running_serve):
    app = running_serve.plain()
    good = [app.handle.detect.remote(grey_picture(value)) for value in range(8)]
    truncated = app.handle.detect.remote(grey_picture(3, "JPEG", 256)[:-300])
    no_picture = app.handle.detect.remote(b"hello")
    assert [r.result().detections.class_ids[0] for r in good] == list(range(8))
    with pytest.raises(UndecodablePictureError):
        truncated.result()
    with pytest.raises(UnsupportedPictureError):
        no_picture.result()


def test_a_picture_that_the_engine_fails_on_fails_alone(running_serve):
    app = running_serve.plain()
    values = [1, 2, POISON, 3, 4, 5]
    responses = [app.handle.detect.remote(grey_picture(value)) for value in values]
    for value, response in zip(values, responses, strict=True):
        if value == POISON:
            with pytest.raises(RuntimeError, match="poisoned"):
                response.result()
        else:
            assert response.result().detections.class_ids.tolist() == [value]


def test_two_lanes_run_two_batches_at_a_time_and_a_picture_that_the_gpu_cannot_decode_fails_alone(running_serve):
    app = running_serve.deploy(open_two_lanes, batch_size=4)
    values = [0, 1, 2, BROKEN, 3, 4, 5, 6, 7]
    responses = [app.handle.detect.remote(grey_picture(value), confidence=0.05) for value in values]
    most = 0
    for value, response in zip(values, responses, strict=True):
        if value == BROKEN:
            with pytest.raises(UndecodablePictureError, match="damaged"):
                response.result()
        else:
            answer = response.result()
            assert answer.detections.class_ids.tolist()[0] == value
            most = max(most, engine_report(answer)[1])
    assert most == 2


def test_confidence_and_classes_are_checked_before_anything_is_run(running_serve):
    app = running_serve.plain()
    assert len(app.ask(5, confidence=0.95).detections) == 0
    assert len(app.ask(5, classes=["5"]).detections) == 1
    assert len(app.ask(5, classes=[6]).detections) == 0
    with pytest.raises(InvalidParameterError, match=r"1\.5"):
        app.ask(5, confidence=1.5)
    with pytest.raises(InvalidParameterError, match="unicorn"):
        app.ask(5, classes=["unicorn"])


def test_a_full_queue_refuses_at_once_and_recovers(running_serve):
    app = running_serve.deploy(open_slow_stand_in, batch_size=2, max_queue=4)
    responses = [app.handle.detect.remote(grey_picture(value)) for value in range(7)]
    answered, refused = [], []
    for value, response in enumerate(responses):
        try:
            answered.append((value, response.result().detections.class_ids[0]))
        except OverloadedError as error:
            refused.append(error.retry_after_s)
    assert [given for given, _ in answered] == [found for _, found in answered]
    assert (len(answered), refused) == (4, [1, 1, 1])
    assert app.ask(9).detections.class_ids.tolist() == [9]


def test_a_late_answer_is_a_deadline_error(running_serve):
    app = running_serve.late()
    with pytest.raises(DeadlineExceededError, match=r"0\.3 s"):
        app.ask(1)


def test_a_request_that_its_caller_gave_up_is_not_run(running_serve):
    app = running_serve.slow()
    before = engine_report(app.ask(0, confidence=0.05))[1]
    first = app.handle.detect.remote(grey_picture(1))
    time.sleep(0.2)
    given_up = [app.handle.detect.remote(grey_picture(2)) for _ in range(3)]
    time.sleep(0.2)
    for response in given_up:
        response.cancel()
    last = app.ask(3, confidence=0.05)
    assert first.result().detections.class_ids.tolist() == [1]
    assert engine_report(last)[1] == before + 2


def test_in_a_batch_that_waits_those_who_gave_up_are_left_out(running_serve):
    app = running_serve.deploy(open_very_slow_stand_in, batch_size=2)
    first = app.handle.detect.remote(grey_picture(1))
    time.sleep(0.5)
    given_up = app.handle.detect.remote(grey_picture(2))
    kept = app.handle.detect.remote(grey_picture(3), confidence=0.05)
    time.sleep(0.5)
    given_up.cancel()
    first.result()
    answer = kept.result()
    assert engine_report(answer)[0] == 1
    assert answer.detections.class_ids.tolist()[0] == 3


def test_a_long_batch_leaves_the_replica_healthy(running_serve):
    app = running_serve.deploy(open_slow_stand_in)
    pid = app.handle.describe.remote().result()["engine"]
    busy = [app.handle.detect.remote(grey_picture(1)) for _ in range(3)]
    checked = time.monotonic()
    app.handle.check_health.remote().result()
    assert time.monotonic() - checked < 0.5
    for response in busy:
        response.result()
    assert app.handle.describe.remote().result()["engine"] == pid


def test_a_lost_gpu_turns_health_red_and_ray_replaces_the_replica(running_serve):
    app = running_serve.deploy()
    before = app.handle.describe.remote().result()["engine"]
    with pytest.raises(GpuLostError):
        app.ask(LOST)
    with pytest.raises(GpuLostError):
        app.handle.check_health.remote().result()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            if app.ask(5).detections.class_ids.tolist() == [5]:
                break
        except (GpuLostError, ray.exceptions.RayError):
            continue
    assert app.handle.describe.remote().result()["engine"] != before


def test_shutdown_answers_what_was_accepted(running_serve):
    app = running_serve.deploy(open_slow_stand_in, batch_size=2)
    responses = [app.handle.detect.remote(grey_picture(value)) for value in range(6)]
    time.sleep(0.5)  # by now the replica has accepted all, and the engine runs its first batch
    serve.delete(app.url.rsplit("/", 1)[1], _blocking=False)
    assert [response.result().detections.class_ids[0] for response in responses] == list(range(6))


def test_the_event_loop_stays_free_while_the_engine_works(running_serve):
    app = running_serve.deploy(open_slow_stand_in)

    async def scenario() -> float:
        busy = app.handle.detect.remote(grey_picture(1))
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        await app.handle.describe.remote()
        took = time.monotonic() - begun
        await busy
        return took

    assert asyncio.run(scenario()) < 0.5


def test_with_no_gpu_one_cpu_replica_serves(running_serve):
    app = running_serve.deploy(num_gpus="auto")
    assert len(replicas_of(app, 1)) == 1


def test_more_cpu_replicas_if_asked(running_serve):
    app = running_serve.deploy(num_gpus=0, cpu_replicas=2)
    assert len(replicas_of(app, 2)) == 2
