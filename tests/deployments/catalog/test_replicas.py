"""ModelReplicas: what counts as an answer of a replica."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.catalog import replicas as replicas_module
from deployments.catalog.replicas import ModelReplicas, Told
from deployments.versions.version import Report, Version, Wanted

WANTED = Wanted(serving=Version(model="a.onnx"))


class Handle:
    """Serve's handle; remembers what was broadcast, and answers with what it is given."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.told = answers, []
        self.ends = False

    def options(self, **options: Any) -> Handle:
        return self

    def broadcast(self, *told: Any) -> Any:
        self.told.append(told)
        return SimpleNamespace(results_async=self._results)

    async def _results(self, return_exceptions: bool) -> list[Any]:
        if self.ends:
            raise RuntimeError("the application is deleted")
        return list(self.answers)


def replicas_of(handle: Handle) -> ModelReplicas:
    applications: Any = SimpleNamespace(rare={"boats"}, application_of=lambda model: model)
    return ModelReplicas(applications, lambda application: handle)


def test_a_replica_that_is_ending_is_left_out(run) -> None:
    reports = {"a.onnx": Report(state="open")}
    handle = Handle(RuntimeError("the actor died"), ("a.onnx", reports))
    assert run(replicas_of(handle).follow("cars", WANTED)) == [Told("a.onnx", reports)]


def test_an_application_that_is_ending_has_no_replicas(run) -> None:
    handle = Handle()
    handle.ends = True
    assert run(replicas_of(handle).follow("cars", WANTED)) == []


def test_only_replicas_that_share_several_models_are_told_which_one(run) -> None:
    handle = Handle()
    for model in ("cars", "boats"):
        run(replicas_of(handle).follow(model, WANTED))
    assert handle.told == [("follow", WANTED, None), ("follow", "boats", WANTED, None)]


def test_no_model_needs_no_message(run) -> None:
    handle = Handle()
    run(replicas_of(handle).keep({}))
    assert handle.told == []


def test_a_replica_that_does_not_answer_is_not_waited_for_longer(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas_module, "ANSWER_S", 0.02)

    class Silent(Handle):
        async def _results(self, return_exceptions: bool) -> list[Any]:
            await asyncio.sleep(60)
            return []

    assert run(replicas_of(Silent()).follow("cars", WANTED)) == []
