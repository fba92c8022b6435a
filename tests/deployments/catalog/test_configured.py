"""Versions that a changed configuration names: they are brought like any other, or refused, without Ray."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from azaion_engine.errors import InvalidParameterError
from azaion_engine.model.file import ModelFile
from deployments.catalog import rollouts as rollouts_module
from deployments.catalog.replicas import Told
from deployments.settings import ApplicationSettings
from deployments.versions.version import Version
from tests.deployments.catalog.steps import Run, deployed, name_of, reached, settings_of, settled, states, with_rare
from tests.deployments.catalogued import CataloguedReplica


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


def test_a_pinned_version_is_not_withdrawn_with_a_canary_of_the_same_path(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run
) -> None:
    run(deployed(held, files[1], share=0.1))
    files[1].write_bytes(files[2].read_bytes())
    pinned = {"model": str(files[1]), "model_sha256": ModelFile.read(str(files[1])).sha256}
    held.begin(ApplicationSettings(models={"cars": pinned}, cache_dir=tmp_path / "cache", engine="onnx"))
    run(held.rollouts.resume())
    run(held.rollouts.rollback("cars"))
    assert held.applications.changed.keys() == {"cars"}


def test_a_configured_version_and_an_order_do_not_undo_each_other(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(*given: Any) -> list[Told]:  # a replica that switches late
        await asyncio.sleep(0.05)
        return await told(*given)

    async def scenario() -> None:
        await deployed(held, files[1], share=0.1)
        held.begin(settings_of(tmp_path / "moved.onnx", tmp_path))
        (tmp_path / "moved.onnx").write_bytes(files[1].read_bytes())
        nonlocal told
        told = held.rollouts._replicas.follow
        monkeypatch.setattr(held.rollouts._replicas, "follow", follow)
        promoting = asyncio.create_task(held.rollouts.promote("cars"))
        while not promoting.done():
            await held.rollouts._bring_configured()
            with pytest.raises(InvalidParameterError, match=r"on its way or a canary|are switching"):
                await held.rollouts.deploy("cars", str(files[2]))
            await asyncio.sleep(0.01)
        await held.rollouts._bring_configured()
        assert [state for _, state in states(held)] == ["retired", "serving"]
        assert held.applications.changed == {}

    told: Any = None
    run(scenario())


def test_an_order_that_comes_while_another_file_is_read_is_not_undone(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[str] = []

    async def order_between(model: str, configured: Version) -> None:
        brought.append(model)
        if model == "boats":
            await deployed(held, files[2])  # takes the place of the configured version of `cars`

    async def scenario() -> None:
        monkeypatch.setattr(held.rollouts, "_bring_file_of", order_between)
        other = Version(model=str(files[1]), sha256="0" * 64)
        held.applications.changed |= {"boats": other, "cars": other}
        await held.rollouts._bring_configured()

    held.begin(with_rare(files[0], tmp_path))
    run(scenario())
    assert brought == ["boats"]
    assert states(held) == [("a", "retired"), ("c", "serving")]


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
