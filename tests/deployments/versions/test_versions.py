"""Versions in one replica, without Ray: opening beside, switching, canary, and what happens to requests meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from azaion_engine.errors import EngineClosedError, ModelError
from deployments.deployment import DetectorDeployment
from deployments.errors import VersionRefusedError
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.service import DetectorService
from deployments.settings import ServiceSettings
from deployments.versions.version import Report, Trial, Version, Wanted
from deployments.versions.versions import Versions
from tests.deployments.in_process import Replica, client, replica
from tests.stand_in import grey_picture, open_stand_in

OLD, NEW = (Version(model=name, sha256=digit * 64) for name, digit in (("old.onnx", "a"), ("new.onnx", "b")))


class VersionedReplica:
    """A replica in this process whose versions are stand-ins."""

    def __init__(self, inner: Replica, grace_s: float = 60.0) -> None:
        self.reception = inner.reception
        self.opening = threading.Event()
        self.may_open = threading.Event()
        self.may_open.set()
        self.fails: Exception | None = None
        self.endless: set[str] = set()
        self.ended = threading.Event()
        self.trials: list[tuple[str | None, str | None, Trial]] = []
        self.opened: list[DetectorService] = []
        self.versions = Versions(OLD, inner.service, self, grace_s)

    service = property(lambda self: self.versions.current)

    def pick(self) -> DetectorService:
        return self.versions.pick()

    def repository_of(self, service: DetectorService) -> ModelRepository:
        return ModelRepository(service)

    def open_beside(
        self, version: Version, beside: DetectorService, unwanted: threading.Event
    ) -> tuple[DetectorService, str]:
        self.opening.set()
        if version.model in self.endless:
            assert unwanted.wait(20)
            self.ended.set()
            raise VersionRefusedError("it is no longer wanted")
        self.may_open.wait(20)
        if self.fails is not None:
            raise self.fails
        settings = version.applied_to(beside.settings)
        self.opened.append(DetectorService(settings, open_stand_in(settings), 2, front=beside.front))
        return self.opened[-1], "agrees"

    def try_out(self, before: DetectorService, after: DetectorService, trial: Trial) -> str:
        self.trials.append((before.version, after.version, trial))
        if trial.least == 1:
            raise VersionRefusedError("too little")
        return "compared"

    async def reach(self, wanted: Wanted, state: str, of: Version = NEW, trial: Trial | None = None) -> Report:
        for _ in range(400):
            report = self.versions.follow(wanted, trial)[of.id]
            if report.state == state:
                return report
            await asyncio.sleep(0.01)
        raise AssertionError(report)


@contextmanager
def versioned(grace_s: float = 60.0) -> Iterator[VersionedReplica]:
    from ray import serve

    with replica(model_sha256=OLD.sha256) as inner:
        held = VersionedReplica(inner, grace_s)
        serve.get_replica_context().servable_object = held
        yield held
        for service in held.opened:
            service.detector.close()


async def version_of(http: httpx.AsyncClient, value: int = 5, path: str = "/detect") -> str:
    answer = await http.post(path, content=grey_picture(value))
    assert answer.status_code == 200, answer.text
    assert [box["class_id"] for box in answer.json()["boxes"]] == [value]
    return str(answer.json()["model"]["version"])


async def closed(service: DetectorService) -> None:
    """Returns when a service answers no more."""
    for _ in range(400):
        await asyncio.sleep(0.02)
        try:
            await service.detect(grey_picture(3))
        except (EngineClosedError, RuntimeError):
            return
    raise AssertionError("it is open still")


def both(share: float = 0.0) -> Wanted:
    return Wanted(serving=OLD, candidate=NEW, share=share)


def test_a_version_is_opened_beside_the_serving_one_and_then_serves(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        async with client() as http:
            held.may_open.clear()
            assert held.versions.follow(both())[NEW.id].state == "opening"
            await asyncio.to_thread(held.opening.wait, 10)
            assert await version_of(http) == OLD.id  # while the new one is being opened
            held.may_open.set()
            report = await held.reach(both(), "open")
            assert report.agreement == "agrees"
            assert await version_of(http) == OLD.id  # open, and not wanted to serve
            held.versions.follow(Wanted(serving=NEW))
            assert [await version_of(http, path=path) for path in ("/detect", "/detect?confidence=0.5")] == [NEW.id] * 2
            card = (await http.get("/model")).json()
            assert card["version"] == NEW.id

    with versioned() as held:
        run(scenario(held))


def test_of_eight_clients_none_loses_a_request_or_gets_another_versions_answer(run: Callable[..., Any]) -> None:
    async def caller(http: httpx.AsyncClient, number: int, answers: list[tuple[int, str]], over: asyncio.Event) -> None:
        while not over.is_set():
            before = held_now.versions.serving
            version = await version_of(http, number)
            assert version in (before, held_now.versions.serving)
            answers.append((number, version))

    async def scenario(held: VersionedReplica) -> list[tuple[int, str]]:
        answers: list[tuple[int, str]] = []
        over = asyncio.Event()
        async with client() as http:
            callers = [asyncio.create_task(caller(http, number, answers, over)) for number in range(8)]
            for wanted, of in ((both(), NEW), (Wanted(serving=NEW), NEW), (Wanted(serving=OLD), OLD)) * 3:
                await held.reach(wanted, "open", of)
                await asyncio.sleep(0.2)
            over.set()
            await asyncio.gather(*callers)
        return answers

    with versioned() as held:
        held_now = held
        answers = run(scenario(held))
        assert len(held.opened) == 1  # a version within its grace is used again
    assert {version for _, version in answers} == {OLD.id, NEW.id}
    assert len(answers) >= 40


def test_a_canary_gets_its_share_of_the_requests(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> list[str]:
        async with client() as http:
            await held.reach(both(), "open")
            held.versions.follow(both(share=0.2))
            return [await version_of(http) for _ in range(20)]

    with versioned() as held:
        answers = run(scenario(held))
    assert [index for index, version in enumerate(answers) if version == NEW.id] == [4, 9, 14, 19]


def test_a_version_that_cannot_be_opened_leaves_the_old_one_and_may_be_tried_again(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        held.fails = ModelError("it is no detector")
        report = await held.reach(both(), "failed")
        assert report.message == "it is no detector"
        held.versions.follow(both(share=0.5))
        async with client() as http:
            assert {await version_of(http) for _ in range(4)} == {OLD.id}
        held.versions.follow(Wanted(serving=OLD))
        held.fails = None
        await held.reach(both(), "open")

    with versioned() as held:
        run(scenario(held))


def test_a_version_is_compared_with_the_serving_one_even_if_it_is_open_still(run: Callable[..., Any]) -> None:
    told, asked = Trial((b"picture",)), Trial((b"picture",), 1)

    async def scenario(held: VersionedReplica) -> None:
        assert (await held.reach(both(), "open", trial=told)).comparison == "compared"
        held.versions.follow(Wanted(serving=OLD))
        report = await held.reach(both(), "open")
        assert (report.agreement, report.comparison) == ("agrees", "")
        held.versions.follow(Wanted(serving=OLD))
        assert (await held.reach(both(), "failed", trial=asked)).message == "too little"
        held.versions.follow(both(share=0.5))
        async with client() as http:
            assert {await version_of(http) for _ in range(4)} == {OLD.id}
        held.versions.follow(Wanted(serving=OLD))
        assert (await held.reach(both(), "open", trial=told)).comparison == "compared"
        assert held.trials == [(OLD.id, NEW.id, trial) for trial in (told, asked, told)]
        assert len(held.opened) == 1

    with versioned() as held:
        run(scenario(held))


def test_the_changes_of_a_version_that_is_open_still_are_those_to_the_version_that_serves_now(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(held: VersionedReplica) -> None:
        assert (await held.reach(both(), "open")).changes == ""
        monkeypatch.setattr(held.opened[0].detector, "names", {**held.opened[0].detector.names, 99: "kite"})
        held.versions.follow(Wanted(serving=NEW))
        back = Wanted(serving=NEW, candidate=OLD)
        assert (await held.reach(back, "open", of=OLD)).changes == "classes that are gone: kite"
        held.versions.follow(Wanted(serving=OLD))
        assert (await held.reach(both(), "open")).changes == "new classes: kite"

    with versioned() as held:
        run(scenario(held))


def test_a_version_whose_engine_has_failed_does_not_serve_although_it_is_open_still(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        await held.reach(both(), "open")
        held.versions.follow(both(share=0.5))
        held.opened[0].detector.close()
        held.versions.check_health()
        held.versions.follow(Wanted(serving=OLD))
        report = await held.reach(both(), "failed")
        assert "closed" in report.message
        assert held.versions.current.version == OLD.id

    with versioned() as held:
        run(scenario(held))


def test_a_version_that_is_refused_when_it_is_open_is_closed(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        await held.reach(both(), "failed", trial=Trial((b"picture",), 1))
        await closed(held.opened[0])

    with versioned() as held:
        run(scenario(held))


def test_a_version_is_closed_when_no_request_can_use_it_any_more(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        old = held.service
        await held.reach(both(), "open")
        held.versions.follow(Wanted(serving=NEW))
        await old.detect(grey_picture(3))  # of a request that had begun
        await closed(old)
        async with client() as http:
            assert await version_of(http) == NEW.id

    with versioned(grace_s=0.2) as held:
        run(scenario(held))


def test_a_version_that_is_no_longer_wanted_when_it_is_open_is_closed(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        held.may_open.clear()
        held.versions.follow(both())
        await asyncio.to_thread(held.opening.wait, 10)
        held.versions.follow(Wanted(serving=OLD))
        held.may_open.set()
        for _ in range(200):
            await asyncio.sleep(0.02)
            if held.opened:
                await closed(held.opened[0])
                return
        raise AssertionError("it was never opened")

    with versioned() as held:
        run(scenario(held))


def test_versions_that_were_withdrawn_while_they_were_opened_keep_no_later_one_waiting(run: Callable[..., Any]) -> None:
    withdrawn = [Version(model=f"{number}.onnx", sha256=f"{number:064}"[::-1]) for number in range(1, 20)]

    async def scenario(held: VersionedReplica) -> None:
        held.endless = {version.model for version in withdrawn}
        for version in withdrawn:
            held.versions.follow(Wanted(serving=OLD, candidate=version))
            await asyncio.sleep(0)
            held.versions.follow(Wanted(serving=OLD))
        await held.reach(both(), "open")
        assert [service.settings.model for service in held.opened] == ["new.onnx"]

    with versioned() as held:
        run(scenario(held))


def test_versions_that_are_opened_take_no_thread_of_others(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        held.may_open.clear()
        held.versions.follow(both())
        await asyncio.to_thread(held.opening.wait, 10)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        await asyncio.wait_for(asyncio.to_thread(int), 10)
        for number in range(1, 40):
            held.versions.follow(Wanted(serving=OLD, candidate=Version(model=str(number))))
        await asyncio.sleep(0.05)
        await asyncio.wait_for(asyncio.to_thread(int), 10)
        held.may_open.set()

    with versioned() as held:
        run(scenario(held))


def test_closing_the_versions_ends_those_that_are_being_opened(run: Callable[..., Any]) -> None:
    async def scenario(held: VersionedReplica) -> None:
        held.endless = {NEW.model}
        held.versions.follow(both())
        await asyncio.to_thread(held.opening.wait, 10)
        held.versions.close()
        assert await asyncio.to_thread(held.ended.wait, 10)

    with versioned() as held:
        run(scenario(held))


def test_the_deployment_gives_its_methods_to_the_catalogue() -> None:
    methods = {name for name in ("follow", "answer", "describe") if hasattr(DetectorDeployment.func_or_class, name)}
    assert methods == {"follow", "answer", "describe"}


def test_a_version_takes_its_copy_if_it_is_there(tmp_path: Any) -> None:
    kept = tmp_path / "kept.onnx"
    version = Version(model="gone.onnx", sha256="c" * 64, kept=str(kept))
    assert version.applied_to(ServiceSettings()).model == "gone.onnx"
    kept.write_bytes(b"")
    applied = version.applied_to(ServiceSettings())
    assert (applied.model, applied.model_sha256) == (str(kept), "c" * 64)


def test_an_answer_of_the_protocol_tells_the_version_too(run: Callable[..., Any]) -> None:
    tensor = {"name": "images", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.0] * 3072}

    async def scenario(held: VersionedReplica) -> list[Any]:
        async with client() as http:
            first = (await http.post("/v2/models/stand-in_raw/infer", json={"inputs": [tensor]})).json()
            await held.reach(both(), "open")
            held.versions.follow(Wanted(serving=NEW))
            return [first, (await http.post("/v2/models/stand-in_raw/infer", json={"inputs": [tensor]})).json()]

    with versioned() as held:
        answers = run(scenario(held))
    assert [answer["parameters"] for answer in answers] == [{"version": OLD.id}, {"version": NEW.id}]
