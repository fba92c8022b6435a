"""The way to the ledger's actor and the actor's end, with a stand-in of Ray: test_ledger_actor.py has the real one."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from deployments.access import ledger_actor
from deployments.access.ledger import Grant, Report
from deployments.access.ledger_actor import LedgerActor, LedgerLink
from deployments.access.quota import Limits
from deployments.access.quotas import LoneQuotas

QUESTION = ("lab", Limits(None, 1, 100), Report(0, 0, 0, 0), True)


class FakeRay:
    """Starts actors in this process, which die when a test says so."""

    def __init__(self) -> None:
        self.options_given: list[dict[str, Any]] = []
        self.killed = threading.Event()
        self.dead = False

    def remote(self, kind: type[LedgerActor]) -> Any:
        return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=lambda: self._start(kind, options)))

    def _start(self, kind: type[LedgerActor], options: dict[str, Any]) -> Any:
        self.options_given.append(options)
        self.dead = False
        ledger = kind()

        async def exchange(*question: Any) -> Grant:
            if self.dead:
                raise RayActorError
            return ledger.exchange(*question)

        ready = SimpleNamespace(remote=lambda: None)
        return SimpleNamespace(exchange=SimpleNamespace(remote=exchange), __ray_ready__=ready)

    def get(self, ready: None, timeout: float) -> None:
        assert timeout > 0

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(current_actor="itself")

    def kill(self, actor: str) -> None:
        assert actor == "itself"
        self.killed.set()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ledger_actor, "ray", fake)
    return fake


def test_a_dead_ledger_fails_one_question_and_a_new_one_answers_the_next(ray: FakeRay) -> None:
    link = LedgerLink("detector", "replica 1")
    assert asyncio.run(link(*QUESTION)).pictures > 0
    ray.dead = True
    with pytest.raises(RayActorError):
        asyncio.run(link(*QUESTION))
    assert asyncio.run(link(*QUESTION)).pictures > 0
    names = {(given["name"], given["get_if_exists"], given["max_restarts"]) for given in ray.options_given}
    assert names == {("ledger of detector", True, -1)}


def test_the_replicas_of_several_models_ask_one_ledger(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    for application in ("detector.cars", "detector.ships.v2"):
        replica = SimpleNamespace(app_name=application, replica_id=SimpleNamespace(unique_id=application))
        monkeypatch.setattr(ledger_actor.serve, "get_replica_context", lambda found=replica: found)
        assert isinstance(ledger_actor.quotas_of(1, "detector"), LoneQuotas)
        ledger_actor.quotas_of(4, "detector")
    assert {given["name"] for given in ray.options_given} == {"ledger of detector"}
    ledger_actor.quotas_of(4)
    assert ray.options_given[-1]["name"] == "ledger of detector.ships.v2"


def test_a_ledger_ends_when_nobody_asks_and_not_before(ray: FakeRay) -> None:
    ledger = LedgerActor(unused_s=0.6)
    for _ in range(8):
        ledger.exchange("replica 1", *QUESTION)
        assert not ray.killed.is_set()
        time.sleep(0.1)
    assert ray.killed.wait(30)
