"""ModelApplications: which applications the catalogue deploys and deletes, and which it leaves alone, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import ApplicationStatus

from azaion_engine.errors import ConfigurationError
from deployments.catalog.applications import CATALOG
from deployments.settings import ApplicationSettings
from tests.deployments.catalog.steps import Run, name_of, settings_of, settled, with_rare
from tests.deployments.catalogued import CataloguedReplica


def test_a_model_that_is_no_longer_configured_goes_and_the_others_stay(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    both = {name: {"model": str(files[0])} for name in ("cars", "ships")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    held.serve.running["another"] = ("", "/another")
    assert {route for _, route in held.serve.running.values()} == {"/models/cars", "/models/ships", "/another"}
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running.keys() == {"several.cars", "another"}


def test_models_are_deleted_with_their_catalogue_and_not_when_it_only_starts_again(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    running = {*held.serve.running, "another"}
    held.serve.running["another"] = ("", "/another")
    held.applications.delete_with_catalog()  # Serve itself is away, and knows nothing
    assert held.serve.running.keys() == running
    held.serve.running["several"] = ("", "/")
    held.serve.of_others["several"] = CATALOG
    held.applications.delete_with_catalog()
    assert held.serve.running.keys() == {*running, "several"}
    held.serve.of_others["several"] = "DetectorDeployment"  # it serves one model from now on
    held.applications.delete_with_catalog()
    assert held.serve.running.keys() == {"several", "another"}
    held.serve.running["several.cars"] = ("of another", "/eu")
    held.applications.delete_with_catalog()
    assert "several.cars" in held.serve.running


@pytest.mark.parametrize(
    ("status", "left"),
    [
        (ApplicationStatus.DEPLOYING, {"several", "several.cars"}),
        (ApplicationStatus.DEPLOY_FAILED, {"several", "several.cars"}),
        (ApplicationStatus.DELETING, {"several"}),
    ],
)
def test_models_outlive_a_catalogue_that_ends_while_a_configuration_is_built_or_is_a_wrong_one(
    held: CataloguedReplica, status: ApplicationStatus, left: set[str]
) -> None:
    held.serve.running["several"] = ("", "/")
    held.serve.status["several"] = (status, "")
    held.serve.of_others["several"] = ""
    held.applications.delete_with_catalog()
    assert held.serve.running.keys() == left


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


@pytest.mark.parametrize("gone", ["rarely used", "deleted by hand"])
def test_a_model_that_was_taken_out_and_put_back_begins_with_what_is_configured(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, run: Run, gone: str
) -> None:
    both = with_rare(files[0], tmp_path, rarely_used=gone == "rarely used")
    held.handles.update(dict.fromkeys(("boats", "kites"), held.handles["_rarely_used"]))
    held.begin(both)
    run(held.rollouts.deploy("boats", str(files[1])))
    run(settled(held))
    assert Path(held.rollouts.record_of("boats").wanted.serving.model) == files[1]
    if gone == "deleted by hand":
        held.serve.delete("several.boats")
    held.begin(settings_of(files[0], tmp_path))
    held.begin(both)
    assert Path(held.rollouts.record_of("boats").wanted.serving.model) == files[0]
    assert len(held.rollouts.record_of("boats").history) == 1


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


def test_a_model_that_is_put_back_while_its_application_ends_is_served(
    held: CataloguedReplica, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(name: str) -> None:
        held.serve.status[name] = (ApplicationStatus.DELETING, "")

    monkeypatch.setattr(held.serve, "delete", delete)
    both = {name: {"model": str(files[0])} for name in ("cars", "eu")}
    with_eu = ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx")
    held.begin(with_eu)
    held.begin(settings_of(files[0], tmp_path))
    held.begin(with_eu)
    held.serve.status.clear()  # Serve deploys over what ends
    assert held.applications.taken == set()
    assert held.serve.runs[-2:] == ["several.cars", "several.eu"]
    assert held.applications.states()["eu"].state == "serving"


def test_an_application_that_is_no_detector_is_not_taken_for_one_of_before(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    both = {name: {"model": str(files[0])} for name in ("cars", "eu")}
    held.begin(ApplicationSettings(models=both, cache_dir=tmp_path / "cache", engine="onnx"))
    held.serve.running["several.eu"] = ("of another", "/eu")  # after a shutdown of Serve
    held.serve.of_others["several.eu"] = "Translator"
    held.begin(settings_of(files[0], tmp_path))
    assert held.serve.running["several.eu"] == ("of another", "/eu")


def test_rare_models_whose_application_is_taken_are_told_to_name_that_one_otherwise(
    held: CataloguedReplica, files: list[Path], tmp_path: Path
) -> None:
    held.serve.running["several._rarely_used"] = ("of another", "/rare")
    held.serve.of_others["several._rarely_used"] = "Translator"
    held.begin(with_rare(files[0], tmp_path, rarely_used=True))
    message = held.applications.states()["kites"].message
    assert message.endswith("is not of this catalogue: give that application another name")


def test_a_changed_setting_deploys_its_model_anew(held: CataloguedReplica, files: list[Path], tmp_path: Path) -> None:
    name = name_of(held)
    cars = {"model": str(files[0]), "confidence": 0.6}
    held.begin(ApplicationSettings(models={"cars": cars}, cache_dir=tmp_path / "cache", engine="onnx"))
    assert name_of(held) != name


def test_the_state_of_a_model_that_is_deployed_anew_is_not_that_of_before(held: CataloguedReplica) -> None:
    held.serve.status["several.cars"] = (ApplicationStatus.DEPLOY_FAILED, "no detector")
    assert held.applications.states()["cars"].state == "failed"
    del held.serve.status["several.cars"]  # as Serve does at once
    held.applications.deploy_one("cars")
    assert held.applications.states()["cars"].state == "serving"


def test_a_model_whose_application_was_deleted_by_others_is_not_told_to_start_and_can_be_deployed_again(
    held: CataloguedReplica, files: list[Path], run: Run
) -> None:
    held.serve.delete("several.cars")
    state = held.applications.states()["cars"]
    assert (state.state, state.message) == ("ending", "its application was deleted")
    run(held.rollouts.deploy("cars", str(files[1])))
    assert "b.onnx" in held.serve.running["several.cars"][0]


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
