"""Rollouts: what the catalogue tells the replicas, and what it remembers, without Ray."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus

from azaion_engine.errors import ConfigurationError, InvalidParameterError
from deployments.catalog import rollouts as rollouts_module
from deployments.catalog.kept import read_version
from deployments.settings import ApplicationSettings
from deployments.versions.version import Trial, Version, Wanted
from tests.azaion_engine.models import make_detector
from tests.deployments.catalogued import CataloguedReplica, catalogued

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three models of other weights."""
    paths = [tmp_path / f"{name}.onnx" for name in "abc"]
    for seed, path in enumerate(paths):
        path.write_bytes(make_detector(seed=seed))
    return paths


@pytest.fixture
def held(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CataloguedReplica]:
    monkeypatch.setattr(rollouts_module, "LOOK_S", 0.01)
    with catalogued(settings_of(files[0], tmp_path)) as running:
        yield running


def settings_of(file: Path, folder: Path) -> ApplicationSettings:
    return ApplicationSettings(models={"cars": {"model": str(file)}}, cache_dir=folder / "cache", engine="onnx")


def states(held: CataloguedReplica) -> list[tuple[str, str]]:
    """Returns file and state of each entry of the history, oldest first."""
    return [(Path(entry.version.model).stem, entry.state) for entry in held.rollouts.record_of("cars").history]


def name_of(held: CataloguedReplica) -> str:
    """Returns the name by which Serve knows whether an application runs already."""
    return held.serve.running["several.cars"][0].rpartition(" ")[2]


async def deployed(held: CataloguedReplica, file: Path, **given: Any) -> None:
    await held.rollouts.deploy("cars", str(file), **given)
    await settled(held)


async def settled(held: CataloguedReplica) -> None:
    for _ in range(1000):
        if not held.rollouts._tasks:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the rollout does not end")


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
    monkeypatch.setattr(rollouts_module, "LOOK_S", 0.01)
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
        for task in held.rollouts._tasks.values():
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


def test_a_changed_file_in_the_configuration_is_swapped_to_like_any_version(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    async def scenario() -> None:
        name = name_of(held)
        held.begin(settings_of(files[1], tmp_path))
        assert name_of(held) == name  # its replicas stay
        await held.rollouts.resume()
        await settled(held)
        assert states(held) == [("a", "retired"), ("b", "serving")]
        held.begin(settings_of(files[1], tmp_path))
        assert held.applications.changed == {}

    run(scenario())


def test_a_configured_version_waits_for_a_canary_and_survives_an_end_of_the_catalogue(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollouts_module, "KEEP_S", 0.01)

    async def scenario() -> None:
        await deployed(held, files[1], share=0.1)
        for _ in range(2):
            held.begin(settings_of(files[2], tmp_path))
            await held.rollouts.resume()
            assert states(held) == [("a", "serving"), ("b", "canary")]
        keeping = asyncio.create_task(held.rollouts.keep_told())
        await asyncio.sleep(0.1)
        assert states(held) == [("a", "serving"), ("b", "canary")]
        await held.rollouts.promote("cars")
        await reached(held, [("a", "retired"), ("b", "retired"), ("c", "serving")])
        keeping.cancel()
        held.begin(settings_of(files[2], tmp_path))
        assert held.applications.changed == {}

    run(scenario())


async def reached(held: CataloguedReplica, wanted: list[tuple[str, str]]) -> None:
    for _ in range(500):
        if states(held) == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(states(held))


def test_a_canary_that_is_withdrawn_does_not_come_back_because_the_configuration_names_its_file_by_now(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    run(deployed(held, files[1], share=0.1))
    held.begin(settings_of(files[1], tmp_path))
    run(held.rollouts.resume())
    run(held.rollouts.rollback("cars"))
    assert held.applications.changed == {}
    held.begin(settings_of(files[1], tmp_path))
    run(held.rollouts.resume())
    assert states(held) == [("a", "serving"), ("b", "rolled_back")]


def test_an_order_after_a_configured_version_that_waits_takes_its_place(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    run(deployed(held, files[1], share=0.1))
    held.begin(settings_of(tmp_path / "later.onnx", tmp_path))
    run(held.rollouts.resume())
    run(held.rollouts.rollback("cars"))
    assert held.applications.changed.keys() == {"cars"}
    run(deployed(held, files[2]))
    held.begin(settings_of(tmp_path / "later.onnx", tmp_path))
    assert held.applications.changed == {}
    assert states(held) == [("a", "retired"), ("b", "rolled_back"), ("c", "serving")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model": "missing.onnx"}, "cannot read 'missing.onnx'"),
        ({"model_sha256": "0" * 64}, f"b.onnx is another model: its SHA-256 is .*, expected {'0' * 64}"),
    ],
)
def test_a_configured_version_that_is_refused_is_in_the_history_with_the_reason(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, given: dict[str, str], words: str
) -> None:
    cars = {"model": str(files[1]), **given}
    settings = ApplicationSettings(models={"cars": cars}, cache_dir=tmp_path / "cache", engine="onnx")
    for _ in range(2):  # an end of the catalogue tells it no second time
        held.begin(settings)
        run(held.rollouts.resume())
        assert states(held) == [("a", "serving"), (Path(cars["model"]).stem, "failed")]
        assert re.search(words, held.rollouts.record_of("cars").history[-1].message)
    run(deployed(held, files[2]))
    assert states(held)[-1] == ("c", "serving")


def test_a_configured_version_that_cannot_be_written_down_is_brought_later(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(name: str, text: str) -> None:
        raise ConnectionError("the GCS is down")

    async def scenario() -> None:
        held.begin(settings_of(files[1], tmp_path))
        with monkeypatch.context() as patched:
            patched.setattr(held.store, "put", unreachable)
            await held.rollouts.resume()
        assert states(held) == [("a", "serving")]
        held.begin(settings_of(files[1], tmp_path))
        await held.rollouts.resume()
        await settled(held)
        assert states(held) == [("a", "retired"), ("b", "serving")]

    run(scenario())


def test_a_file_that_the_configuration_names_at_another_path_is_opened_there_from_now_on(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    moved = files[0].rename(tmp_path / "moved.onnx")
    held.begin(settings_of(moved, tmp_path))
    run(held.rollouts.resume())
    assert states(held) == [("a", "serving")]
    assert held.rollouts.record_of("cars").wanted.serving.model == str(moved)
    held.begin(settings_of(moved, tmp_path))
    assert held.applications.changed == {}


def test_a_model_that_does_not_serve_starts_anew_with_the_version(
    held: CataloguedReplica, files: list[Path], run: Run
) -> None:
    held.serve.status["several.cars"] = (ApplicationStatus.DEPLOY_FAILED, "x\nModelError: no detector")
    held.applications._seen_at = -1.0
    before = name_of(held)
    run(deployed(held, files[1]))
    assert name_of(held) != before
    assert "b.onnx" in held.serve.running["several.cars"][0]
    assert states(held) == [("a", "failed"), ("b", "serving")]
    assert held.rollouts.record_of("cars").history[0].message == "ModelError: no detector"


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


def test_a_model_that_is_no_longer_configured_goes_and_the_others_stay(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    both = {name: {"model": str(files[0])} for name in ("cars", "ships")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    held.serve.running["another"] = ("", "/another")
    assert {route for _, route in held.serve.running.values()} == {"/models/cars", "/models/ships", "/another"}
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars", "another"}


@pytest.mark.parametrize("declared", [True, False])
def test_an_application_of_another_whose_name_begins_alike_is_never_touched(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, declared: bool
) -> None:
    held.serve.running["several.eu"] = ("of another", "/eu")
    held.serve.from_configuration |= {"several.eu"} if declared else set()
    held.begin(settings_of(files[0], tmp_path))
    both = {name: {"model": str(files[0])} for name in ("cars", "eu")}
    for _ in range(2):  # and when it starts again
        held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
        assert held.serve.running["several.eu"] == ("of another", "/eu")
        states = held.applications.states()
        assert (states["cars"].state, states["eu"].state) == ("serving", "failed")
        assert "the application several.eu exists and is not of this catalogue" in states["eu"].message
        run(held.rollouts.resume())
        for order in (
            held.rollouts.deploy("eu", str(files[1])),
            held.rollouts.promote("eu"),
            held.rollouts.rollback("eu"),
        ):
            with pytest.raises(ConfigurationError, match="give the model 'eu' or that application another name"):
                run(order)
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars", "several.eu"}


def test_an_application_that_a_configuration_took_over_is_not_deleted_with_its_model(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    both = {name: {"model": str(files[0])} for name in ("cars", "eu")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    held.serve.running["several.eu"] = ("of the configuration", "/eu")
    held.serve.from_configuration.add("several.eu")
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars", "several.eu"}


def test_a_name_is_free_for_others_after_its_model_is_gone(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    both = {name: {"model": str(files[0])} for name in ("cars", "eu")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    held.begin(settings_of(files[0], tmp_path))
    held.serve.running["several.eu"] = ("of another", "/eu")
    held.begin(settings_of(files[0], tmp_path))
    assert "several.eu" in held.serve.running


def test_a_catalogue_finds_what_one_of_an_earlier_release_has_deployed_by_its_records(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    del held.store.texts["applications of several"]
    held.serve.running["several.eu"] = ("of another", "/eu")
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    assert {state.state for state in held.applications.states().values()} == {"serving"}
    del held.store.texts["applications of several"]
    ships = {"ships": {"model": str(files[0])}}
    held.begin(ApplicationSettings(models=ships, cache_dir=tmp_path / "cache", engine="onnx"))
    assert held.serve.running.keys() == {"several.ships", "several.eu"}


def test_a_catalogue_that_was_killed_before_it_deleted_deletes_when_it_starts_again(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(name: str) -> None:
        raise KeyboardInterrupt

    both = {name: {"model": str(files[0])} for name in ("cars", "ships")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    with monkeypatch.context() as patched:
        patched.setattr(held.serve, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            held.begin(settings_of(files[0], tmp_path))
    assert "several.ships" in held.serve.running
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars"}


def test_a_changed_setting_deploys_its_model_anew(held: CataloguedReplica, files: list[Path], tmp_path: Path) -> None:
    name = name_of(held)
    cars = {"model": str(files[0]), "confidence": 0.6}
    held.begin(ApplicationSettings(models={"cars": cars}, cache_dir=tmp_path / "cache", engine="onnx"))
    assert name_of(held) != name


def test_a_model_that_cannot_be_deployed_leaves_the_others(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_or_fail(application: Any, name: str, route_prefix: str) -> None:
        if name == "several.cars":
            raise RuntimeError("the route is taken")
        held.serve.running[name] = (application, route_prefix)

    monkeypatch.setattr(held.serve, "run", run_or_fail)
    both = {name: {"model": str(files[0])} for name in ("cars", "ships")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    states = held.applications.states()
    assert (states["cars"].state, states["cars"].message) == ("failed", "the route is taken")
    assert states["ships"].state == "serving"


def with_rare(file: Path, folder: Path, **rare: Any) -> ApplicationSettings:
    models = {"cars": {"model": str(file)}, **{name: {"model": str(file), **rare} for name in ("boats", "kites")}}
    return ApplicationSettings(models=models, cache_dir=folder / "cache", engine="onnx")


def test_models_that_are_rarely_used_have_one_application_in_common_and_records_of_their_own(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    held.begin(with_rare(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars", "several.boats", "several.kites"}
    held.serve.runs.clear()
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    assert held.serve.runs == ["several.cars", "several._rarely_used"]
    assert held.serve.running.keys() == {"several.cars", "several._rarely_used"}
    assert held.serve.running["several._rarely_used"][1] == "/models/_rarely_used"  # Serve passes gRPC to routes only
    assert held.applications.route_of("boats") == "/models/boats"
    assert [entry.state for entry in held.rollouts.record_of("boats").history] == ["serving"]
    built = held.serve.running["several._rarely_used"][0]
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    assert held.serve.running["several._rarely_used"][0] == built  # so Serve changes nothing
    held.begin(with_rare(files[0], tmp_path, rarely_used=True, confidence=0.4))
    assert held.serve.running["several._rarely_used"][0] != built
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars"}


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
