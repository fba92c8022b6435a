"""Keys on a real Serve: two replicas keep one key's limits together, and a key switched off is out within seconds."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import ray

from azaion_client import AccessError, Client, LimitError, RetryPolicy
from tests.deployments.access.keys_made import add_key, change_key
from tests.running_serve import Deployed, RunningServe, replicas_of
from tests.stand_in import grey_picture

ONCE = RetryPolicy(retries=0)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def secrets(keys: Path) -> dict[str, str]:
    return {
        "limited": add_key(keys, "limited", daily=40),
        "lab": add_key(keys, "lab"),
        "slow": add_key(keys, "slow", rate=0.01, burst=6),
    }


@pytest.fixture(scope="module")
def app(running_serve: RunningServe, keys: Path, secrets: dict[str, str]) -> Deployed:
    return running_serve.deploy(cpu_replicas=2, access={"keys_file": str(keys)})


def answered(app: Deployed, secret: str, tries: int) -> int:
    """Sends pictures one after the other, each on a connection of its own; returns how many were answered."""
    count = 0
    for _ in range(tries):
        with Client(app.url, retry=ONCE, key=secret) as client:
            try:
                count += len(client.detect(grey_picture(5))) == 1
            except LimitError:
                continue
    return count


def test_replicas_keep_the_limits_of_a_key_together(app, secrets):
    assert len(replicas_of(app, 2)) == 2
    assert answered(app, secrets["slow"], 30) == 6
    assert answered(app, secrets["limited"], 60) == 40
    assert answered(app, secrets["lab"], 60) == 60


def test_a_ledger_that_dies_is_started_again_and_learns_what_was_used(app, secrets):
    answered(app, secrets["limited"], 60)  # all, if the test before did not run
    ledger = ray.get_actor(f"ledger of {app.name}", namespace="azaion")
    ray.kill(ledger, no_restart=False)
    time.sleep(2)
    ray.get(ledger.__ray_ready__.remote(), timeout=60)
    answered(app, secrets["lab"], 20)  # both replicas find the new ledger: one that still waits keeps to its even part
    # The replica that asks first may get a quarter of what the other's report will take away again.
    assert answered(app, secrets["limited"], 40) <= 10
    assert answered(app, secrets["limited"], 10) == 0
    assert answered(app, secrets["lab"], 5) == 5


def test_a_key_switched_off_is_out_within_seconds_and_others_stay(app, keys, secrets):
    secret = add_key(keys, f"late {os.getpid()}".replace(" ", "-"))
    deadline = time.monotonic() + 20
    with Client(app.url, retry=ONCE, key=secret) as client:
        while time.monotonic() < deadline:
            try:
                client.model()
                break
            except AccessError:
                time.sleep(0.1)
        time.sleep(1.5)  # the other replica
        assert [len(client.detect(grey_picture(1))) for _ in range(6)] == [1] * 6
        change_key(keys, f"late-{os.getpid()}", enabled=False)
        time.sleep(2.5)
        for _ in range(6):
            with pytest.raises(AccessError, match="switched off"):
                client.detect(grey_picture(1))
    assert answered(app, secrets["lab"], 4) == 4
