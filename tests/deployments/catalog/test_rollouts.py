"""Rollouts: what the catalogue tells the replicas, and what it remembers, without Ray."""

from __future__ import annotations

import asyncio
import hashlib
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus

from azaion_engine.errors import ConfigurationError, InvalidParameterError
from deployments.catalog import delivery
from deployments.catalog import rollouts as rollouts_module
from deployments.catalog.kept import read_version
from deployments.catalog.model_state import ModelState
from deployments.settings import ApplicationSettings
from deployments.versions.version import Trial, Version, Wanted
from tests.deployments.catalog.steps import Run, deployed, name_of, reached, settings_of, settled, states, with_rare
from tests.deployments.catalogued import CataloguedReplica, StandInReplica, catalogued


def test_a_version_serves_when_every_replica_has_opened_it(
    held: CataloguedReplica, files: list[Path], run: Run
) -> None:
    async def scenario() -> None:
        first, second = held.replicas["cars"]
        wanted = held.rollouts.record_of("cars").wanted
        version = await held.rollouts.deploy("cars", str(files[1]), trial=Trial((b"x",), 0.5))
        second.opening.add(version.id)
        await asyncio.sleep(0.2)
        assert states(held) == [("a", "serving"), ("b", "opening")]
        assert {told.serving.id for told, _ in first.told} == {wanted.serving.id}
        with pytest.raises(InvalidParameterError, match="is on its way"):
            await held.rollouts.deploy("cars", str(files[2]))
        second.opening.clear()
        await settled(held)
        assert states(held) == [("a", "retired"), ("b", "serving")]
        assert [each.told[-1][0] for each in (first, second)] == [Wanted(serving=version)] * 2
        assert first.told[0][1] == Trial((b"x",), 0.5)
        entry = held.rollouts.record_of("cars").describe()["history"][0]
        assert (entry["version"], entry["comparison"]) == (version.id, "99% agree")

    run(scenario())


def test_a_version_that_one_replica_refuses_leaves_the_old_one_everywhere(
    held: CataloguedReplica, files: list[Path], run: Run
) -> None:
    before = held.rollouts.record_of("cars").wanted
    held.replicas["cars"][1].fails = "other boxes than ONNX Runtime"
    run(deployed(held, files[1]))
    assert states(held) == [("a", "serving"), ("b", "failed")]
    assert held.rollouts.record_of("cars").history[-1].message == "other boxes than ONNX Runtime"
    assert [each.told[-1][0].serving.sha256 for each in held.replicas["cars"]] == [before.serving.sha256] * 2
    assert held.rollouts.record_of("cars").wanted.candidate is None
    held.replicas["cars"][1].fails = ""
    run(deployed(held, files[1]))
    assert states(held)[-1] == ("b", "serving")


@pytest.mark.parametrize("ended", ["replica", "catalogue"])
def test_a_version_that_one_replica_has_not_compared_as_asked_for_does_not_serve(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, ended: str
) -> None:
    async def scenario() -> None:
        first, second = held.replicas["cars"]
        second.opening.add(await _version(held, files[1]))
        await held.rollouts.deploy("cars", str(files[1]), trial=Trial((b"x",), 0.9))
        await asyncio.sleep(0.05)
        if ended == "catalogue":
            held.rollouts._delivery.under_way.pop("cars").cancel()
            held.begin(settings_of(files[0], tmp_path))
        held.replicas["cars"][:] = [first, StandInReplica()]
        await held.rollouts.resume()
        await settled(held)
        assert states(held) == [("a", "serving"), ("b", "failed")]
        assert "deploy it once more" in held.rollouts.record_of("cars").history[-1].message
        await deployed(held, files[1])
        assert states(held)[-1] == ("b", "serving")

    run(scenario())


def test_a_canary_gets_a_share_until_it_is_promoted_or_rolled_back(
    held: CataloguedReplica, files: list[Path], run: Run
) -> None:
    run(deployed(held, files[1], share=0.1))
    assert states(held) == [("a", "serving"), ("b", "canary")]
    assert {each.told[-1][0].share for each in held.replicas["cars"]} == {0.1}
    run(held.rollouts.rollback("cars"))
    assert states(held) == [("a", "serving"), ("b", "rolled_back")]
    assert {each.told[-1][0].share for each in held.replicas["cars"]} == {0.0}
    run(deployed(held, files[1], share=0.1))
    version = run(held.rollouts.promote("cars"))
    assert states(held)[-2:] == [("b", "rolled_back"), ("b", "serving")]
    assert {each.serving for each in held.replicas["cars"]} == {version.id}
    with pytest.raises(InvalidParameterError, match="no canary"):
        run(held.rollouts.promote("cars"))


def test_a_canary_that_a_replica_cannot_serve_any_more_is_withdrawn_and_the_history_says_why(
    held: CataloguedReplica, files: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts_module, "KEEP_S", 0.01)

    async def scenario() -> None:
        await deployed(held, files[1], share=0.1)
        held.replicas["cars"][1].fails = "the GPU is lost"
        keeping = asyncio.create_task(held.rollouts.keep_told())
        await reached(held, [("a", "serving"), ("b", "failed")])
        keeping.cancel()
        assert held.rollouts.record_of("cars").history[-1].message == "the GPU is lost"
        assert {each.told[-1][0].candidate for each in held.replicas["cars"]} == {None}

    run(scenario())


def test_rolling_back_brings_the_version_before_even_if_its_file_was_overwritten(
    held: CataloguedReplica, files: list[Path], run: Run
) -> None:
    async def back() -> None:
        await held.rollouts.rollback("cars")
        await settled(held)

    first = held.rollouts.record_of("cars").wanted.serving
    run(deployed(held, files[1]))
    files[0].write_bytes(b"another")
    run(back())
    record = held.rollouts.record_of("cars")
    assert record.wanted.serving.id == first.id
    applied = record.wanted.serving.applied_to(held.applications.settings["cars"])
    assert applied.model != str(files[0])
    assert Path(applied.model).stem == "a"  # engines' folders are named after it


@pytest.mark.parametrize("pinned", [True, False])
def test_rolling_back_brings_a_configured_version_whose_file_the_next_one_overwrote(
    files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    monkeypatch.setattr(delivery, "LOOK_S", 0.01)
    old = files[0].read_bytes()
    cars = {"model": str(files[0]), **({"model_sha256": hashlib.sha256(old).hexdigest()} if pinned else {})}
    settings = ApplicationSettings(models={"cars": cars}, cache_dir=tmp_path / "cache", engine="onnx")

    async def scenario(held: CataloguedReplica) -> None:
        files[0].write_bytes(files[1].read_bytes())
        await deployed(held, files[0])
        await held.rollouts.rollback("cars")
        await settled(held)
        applied = held.rollouts.record_of("cars").wanted.serving.applied_to(held.applications.settings["cars"])
        assert Path(applied.model).read_bytes() == old

    with catalogued(settings) as held:
        run(scenario(held))


def test_of_a_file_that_is_not_the_configured_one_no_copy_is_kept(files: list[Path], tmp_path: Path) -> None:
    cars = {"model": str(files[0]), "model_sha256": "0" * 64}
    with catalogued(ApplicationSettings(models={"cars": cars}, cache_dir=tmp_path / "cache", engine="onnx")) as held:
        assert held.rollouts.record_of("cars").wanted.serving == Version(model=str(files[0]), sha256="0" * 64)
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_deployed_is_refused_at_once(held: CataloguedReplica, files: list[Path], run: Run) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        run(held.rollouts.deploy("cars", "missing.onnx"))
    with pytest.raises(InvalidParameterError, match="serves already"):
        run(held.rollouts.deploy("cars", str(files[0])))
    with pytest.raises(InvalidParameterError, match="share: expected"):
        run(held.rollouts.deploy("cars", str(files[1]), share=1.0))
    with pytest.raises(InvalidParameterError, match="least: expected 0 to 1, given nan"):
        run(held.rollouts.deploy("cars", str(files[1]), trial=Trial((b"x",), math.nan)))
    with pytest.raises(InvalidParameterError, match="no version before"):
        run(held.rollouts.rollback("cars"))
    assert states(held) == [("a", "serving")]


def test_a_catalogue_that_starts_again_goes_on_and_deploys_nothing_anew(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        for each in held.replicas["cars"]:
            each.opening.add(await _version(held, files[1]))
        await held.rollouts.deploy("cars", str(files[1]))
        await asyncio.sleep(0.1)
        for task in held.rollouts._delivery.under_way.values():
            task.cancel()
        name = name_of(held)
        held.begin(settings_of(files[0], tmp_path))
        assert name_of(held) == name  # so Serve changes nothing
        for each in held.replicas["cars"]:
            each.opening.clear()
        await held.rollouts.resume()
        await settled(held)
        assert states(held) == [("a", "retired"), ("b", "serving")]

    run(scenario())


async def _version(held: CataloguedReplica, file: Path) -> str:
    from deployments.catalog.kept import read_version

    return read_version(str(file), held.applications.settings["cars"].cache_dir).id


@pytest.mark.parametrize("file", [1, 0], ids=["another", "the same"])
def test_a_model_that_does_not_serve_starts_anew_with_the_version(
    held: CataloguedReplica, files: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch, file: int
) -> None:
    held.serve.status["several.cars"] = (ApplicationStatus.DEPLOY_FAILED, "x\nModelError: no detector")
    held.applications._seen_at = -1.0
    before = name_of(held)
    meanwhile, serve_run = [], held.serve.run

    def deploy(*given: Any) -> None:
        meanwhile.append((held.rollouts.record_of("cars").history[-1].state, held.applications.states()["cars"]))
        serve_run(*given)

    monkeypatch.setattr(held.serve, "run", deploy)
    run(deployed(held, files[file]))
    assert meanwhile == [("serving", ModelState("starting"))]  # `azaion deploy` would take the old failure for its own
    assert held.applications.states()["cars"].state == "failed"  # as the stand-in goes on to say
    assert name_of(held) != before
    assert files[file].name in held.serve.running["several.cars"][0]
    assert states(held) == [("a", "failed"), (files[file].stem, "serving")]
    assert held.rollouts.record_of("cars").history[0].message == "ModelError: no detector"


@pytest.mark.parametrize("status", [ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOYING])
def test_a_version_of_a_model_whose_only_replica_is_being_replaced_is_checked_beside_the_next_one(
    held: CataloguedReplica, files: list[Path], run: Run, status: ApplicationStatus
) -> None:
    async def scenario() -> None:
        name, [replica, _] = name_of(held), held.replicas["cars"]
        held.serve.status["several.cars"] = (status, "a replica has died")
        held.replicas["cars"].clear()
        version = await held.rollouts.deploy("cars", str(files[1]))
        await asyncio.sleep(0.05)
        assert states(held) == [("a", "serving"), ("b", "opening")]
        replica.fails = "no detector"
        held.replicas["cars"].append(replica)
        await settled(held)
        assert states(held) == [("a", "serving"), ("b", "failed")]
        assert replica.told[0][0].candidate == version
        assert name_of(held) == name

    run(scenario())


@pytest.mark.parametrize("status", [ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY])
def test_a_version_starts_a_model_anew_whose_replicas_do_not_come_back(
    held: CataloguedReplica, files: list[Path], run: Run, status: ApplicationStatus
) -> None:
    async def scenario() -> None:
        held.serve.status["several.cars"] = (ApplicationStatus.DEPLOYING, "")
        held.replicas["cars"].clear()
        await held.rollouts.deploy("cars", str(files[1]))
        held.serve.status["several.cars"] = (status, "no detector")
        held.serve.unstartable.add("several.cars")
        held.applications._seen_at = -1.0
        await settled(held)
        assert states(held) == [("a", "failed"), ("b", "serving")]
        assert "b.onnx" in held.serve.running["several.cars"][0]

    run(scenario())


ONLY_BESIDE = pytest.mark.parametrize("given", [{"share": 0.1}, {"trial": Trial((b"x",), 0.9)}], ids=["share", "least"])


@ONLY_BESIDE
def test_a_canary_or_a_comparison_with_a_model_that_does_not_serve_is_refused(
    held: CataloguedReplica, files: list[Path], run: Run, given: dict[str, Any]
) -> None:
    held.serve.status["several.cars"] = (ApplicationStatus.DEPLOY_FAILED, "no detector")
    held.applications._seen_at = -1.0
    with pytest.raises(
        InvalidParameterError, match=r"nothing of 'cars' serves .* \(no detector\); deploy the file alone"
    ):
        run(held.rollouts.deploy("cars", str(files[1]), **given))
    assert states(held) == [("a", "serving")]


@ONLY_BESIDE
def test_a_canary_or_a_compared_version_does_not_serve_instead_of_a_model_that_fails_meanwhile(
    held: CataloguedReplica, files: list[Path], run: Run, given: dict[str, Any]
) -> None:
    async def scenario() -> None:
        held.serve.status["several.cars"] = (ApplicationStatus.DEPLOYING, "")
        held.replicas["cars"].clear()
        await held.rollouts.deploy("cars", str(files[1]), **given)
        held.serve.status["several.cars"] = (ApplicationStatus.DEPLOY_FAILED, "no detector")
        held.applications._seen_at = -1.0
        await settled(held)
        assert states(held) == [("a", "serving"), ("b", "failed")]
        assert held.rollouts.record_of("cars").history[-1].message == "nothing serves any more: no detector"

    run(scenario())


@pytest.mark.parametrize("status", [ApplicationStatus.DELETING, None], ids=["ends", "is gone"])
def test_a_version_on_its_way_is_refused_when_the_application_of_its_model_is_deleted(
    held: CataloguedReplica, files: list[Path], run: Run, status: ApplicationStatus | None
) -> None:
    async def scenario() -> None:
        held.replicas["cars"][0].opening.add(await _version(held, files[1]))
        await held.rollouts.deploy("cars", str(files[1]))
        held.replicas["cars"].clear()
        if status is None:
            held.serve.delete("several.cars")
        else:
            held.serve.status["several.cars"] = (status, "")
        held.applications._seen_at = -1.0
        await settled(held)
        assert states(held) == [("a", "serving"), ("b", "failed")]
        assert (
            held.rollouts.record_of("cars").history[-1].message
            == "nothing serves any more: its application was deleted"
        )
        await deployed(held, files[2])  # starts the application anew
        assert states(held) == [("a", "retired"), ("b", "failed"), ("c", "serving")]
        assert "c.onnx" in held.serve.running["several.cars"][0]

    run(scenario())


def test_a_model_that_starts_anew_with_a_version_on_its_way_gets_what_is_configured_since_then_afterwards(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts_module, "KEEP_S", 0.01)

    async def scenario() -> None:
        replicas = [*held.replicas["cars"]]
        replicas[0].opening.add(await _version(held, files[1]))
        await held.rollouts.deploy("cars", str(files[1]))
        held.rollouts._delivery.cancel("cars")  # as the catalogue ends
        held.begin(settings_of(files[2], tmp_path))
        held.serve.status["several.cars"] = (ApplicationStatus.DEPLOY_FAILED, "no detector")
        held.replicas["cars"].clear()
        held.applications._seen_at = -1.0
        await held.rollouts.resume()
        await settled(held)
        assert states(held) == [("a", "failed"), ("b", "serving")]
        held.serve.status.clear()
        held.replicas["cars"] += replicas
        keeping = asyncio.create_task(held.rollouts.keep_told())
        await reached(held, [("a", "failed"), ("b", "retired"), ("c", "serving")])
        keeping.cancel()

    run(scenario())


def test_of_two_deployments_at_once_one_is_refused(held: CataloguedReplica, files: list[Path], run: Run) -> None:
    async def scenario() -> None:
        orders = [held.rollouts.deploy("cars", str(file)) for file in files[1:]]
        done = await asyncio.gather(*orders, return_exceptions=True)
        assert sorted(type(each).__name__ for each in done) == ["InvalidParameterError", "Version"]
        await settled(held)
        assert [state for _, state in states(held)] == ["retired", "serving"]

    run(scenario())


def test_an_order_is_refused_while_another_one_reads_its_file_however_long_that_takes(
    held: CataloguedReplica, files: list[Path], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, first = threading.Event(), threading.Event()

    def read(file: str, cache_dir: Path | None) -> Version:
        if file == str(files[1]):
            first.set()
            assert slow.wait(30)
        return read_version(file, cache_dir)

    monkeypatch.setattr(rollouts_module, "read_version", read)

    async def scenario() -> None:
        order = asyncio.create_task(held.rollouts.deploy("cars", str(files[1])))
        await asyncio.to_thread(first.wait, 30)
        for refused in (held.rollouts.deploy("cars", str(files[2])), held.rollouts.deploy("cars", "no.onnx")):
            with pytest.raises(InvalidParameterError, match="try again"):
                await refused
        slow.set()
        version = await order
        await settled(held)
        assert held.rollouts.record_of("cars").wanted.serving.id == version.id
        with pytest.raises(ConfigurationError):
            await held.rollouts.deploy("cars", "no.onnx")
        await held.rollouts.deploy("cars", str(files[2]))  # an order that failed keeps nobody away

    run(scenario())


def test_a_new_version_of_a_model_that_is_rarely_used_is_deployed_and_rolled_back_alone(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidParameterError, match="'boats' is rarely used: no two versions"):
            await held.rollouts.deploy("boats", str(files[1]), share=0.1)
        with pytest.raises(InvalidParameterError, match="'boats' is rarely used: no two versions"):
            await held.rollouts.deploy("boats", str(files[1]), trial=Trial((b"",)))
        new = await held.rollouts.deploy("boats", str(files[1]))
        for _ in range(500):
            if held.rollouts.record_of("boats").history[-1].state == "serving":
                break
            await asyncio.sleep(0.01)
        assert held.rollouts.record_of("boats").wanted == Wanted(serving=new)
        assert held.rollouts.record_of("kites").wanted.serving.id != new.id
        assert held.handles["_rarely_used"].replicas[0].serving == new.id

    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    run(scenario())


def test_the_canary_of_a_model_that_is_rarely_used_from_now_on_is_withdrawn(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    run(deployed(held, files[1], share=0.1))
    cars = {"model": str(files[0]), "rarely_used": True}
    held.begin(ApplicationSettings(models={"cars": cars}, cache_dir=tmp_path / "cache", engine="onnx"))
    run(held.rollouts.resume())
    assert states(held) == [("a", "serving"), ("b", "rolled_back")]
    assert held.rollouts.record_of("cars").describe()["canary"] is None


def test_what_many_models_serve_that_are_rarely_used_is_kept_told_in_one_message(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts_module, "KEEP_S", 0.01)
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))

    async def scenario() -> None:
        keeping = asyncio.create_task(held.rollouts.keep_told())
        for _ in range(500):
            if held.handles["_rarely_used"].kept and held.replicas["cars"][0].told:
                break
            await asyncio.sleep(0.01)
        keeping.cancel()

    run(scenario())
    version = held.rollouts.record_of("boats").wanted.serving.id
    assert held.handles["_rarely_used"].kept[0] == {"boats": version, "kites": version}
    assert not held.handles["_rarely_used"].replicas[0].told
