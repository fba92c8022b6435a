"""The application: how many replicas share a GPU, and what it says about them at start."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import serve

from azaion_engine.errors import ConfigurationError
from azaion_engine.model.file import ModelFile
from deployments import deployment
from deployments.app import build, build_application, build_catalog
from deployments.deployment import Catalogued
from deployments.settings import ApplicationSettings, ServiceSettings
from deployments.versions.checking import check_model
from tests.azaion_engine.models import make_detector
from tests.deployments.access.keys_made import add_key

HAPROXY = "RAY_SERVE_ENABLE_HA_PROXY"


@pytest.fixture
def sixteen_cores_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of one node, as Ray describes it."""
    resources = {"CPU": 16.0, "GPU": 2.0}
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": resources}])


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "ray.serve"):
        yield caplog
    logger.removeHandler(caplog.handler)


def built(**settings: Any) -> tuple[int, float, int | str, partial[Any]]:
    """Returns replicas, GPUs of each, the resolved setting, and the opener."""
    deployment = build_application(ServiceSettings(**settings))._bound_deployment
    resolved, _, opener = deployment.init_args
    gpus = deployment.ray_actor_options["num_gpus"]
    return deployment.num_replicas, gpus, resolved.replicas_per_gpu, opener


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_the_replicas_of_a_gpu_follow_its_cores_unless_their_number_is_set(said: pytest.LogCaptureFixture) -> None:
    replicas, share, each, opener = built()
    assert (replicas, share, each, opener.keywords) == (8, 0.25, 4, {"shared": True})
    assert "GPUs: 2, replicas for each: 4, with one engine in a process of its own" in said.messages
    assert built(num_gpus=1)[:3] == (4, 0.25, 4)
    assert built(replicas_per_gpu=3)[:3] == (6, 0.3333, 3)
    replicas, share, each, opener = built(replicas_per_gpu=1)
    assert (replicas, share, each, opener.keywords) == (2, 1, 1, {"shared": False})
    replicas, share, each, opener = built(num_gpus=0, cpu_replicas=2)
    assert (replicas, share, each, opener.keywords) == (2, 0, 1, {"shared": False})


@pytest.mark.usefixtures("no_ray")
def test_without_a_known_node_a_gpu_gets_one_replica() -> None:
    assert built(num_gpus=2)[:3] == (2, 1, 1)


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
@pytest.mark.parametrize(("haproxy", "gpus", "warnings"), [("0", 2, 1), (None, 2, 1), ("1", 2, 0), ("0", 0, 0)])
def test_gpus_behind_serves_own_proxy_are_warned_of_once(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, haproxy: str | None, gpus: int, warnings: int
) -> None:
    if haproxy is None:
        monkeypatch.delenv(HAPROXY, raising=False)
    else:
        monkeypatch.setenv(HAPROXY, haproxy)
    built(num_gpus=gpus)
    texts = [record.getMessage() for record in said.records if record.levelno == logging.WARNING]
    assert len(texts) == warnings
    for text in texts:
        assert "HAPROXY IS OFF" in text
        assert "`azaion serve FILE`" in text
        assert "configs/throughput.env" in text


def test_every_replica_gets_the_sha256_that_the_model_has_today(tmp_path: Path) -> None:
    model = tmp_path / "own.onnx"
    model.write_bytes(ModelFile.read("demo").data)

    def fixed(**settings: Any) -> str | None:
        return build_application(ServiceSettings(num_gpus=0, **settings))._bound_deployment.init_args[0].model_sha256

    first = hashlib.sha256(model.read_bytes()).hexdigest()
    assert fixed(model=str(model)) == fixed() == first
    model.write_bytes(other := make_detector())
    assert fixed(model=str(model)) == hashlib.sha256(other).hexdigest()
    assert fixed(model=str(model), model_sha256=first) == first
    assert fixed(model=str(tmp_path / "on another node.onnx")) is None


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [
        *((host, False, True) for host in ("0.0.0.0", "10.1.2.3", "::", "a-name")),
        *((host, False, False) for host in ("127.0.0.1", "::1", "localhost")),
        ("0.0.0.0", True, False),
    ],
)
@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_a_service_that_others_reach_without_a_key_is_warned_of(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str, keys: bool, warned: bool
) -> None:
    client = SimpleNamespace(http_config=SimpleNamespace(host=host))
    monkeypatch.setattr(serve.context, "_get_global_client", lambda raise_if_no_controller_running: client)
    add_key(tmp_path / "keys.json")
    access = {"keys_file": str(tmp_path / "keys.json")} if keys else None
    build(ApplicationSettings(num_gpus=0, access=access))
    assert (f"OPEN: HTTP listens on {host}" in said.text) is warned


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_an_address_that_ray_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(serve.context, "_get_global_client")
    build(ApplicationSettings(num_gpus=0))


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_a_keys_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the keys file .*none\.json cannot be read"):
        build_application(ServiceSettings(num_gpus=0, access={"keys_file": str(tmp_path / "none.json")}))


def of_several(name: str, **models: dict[str, Any]) -> tuple[int, float, float, Any]:
    """Returns replicas, GPUs and CPUs of each, and what the replicas know of the other models, of one of several."""
    settings = ApplicationSettings(models={each: {"model": "demo", **given} for each, given in models.items()})
    _, build_model, _ = build_catalog(settings)._bound_deployment.init_args
    deployment = build_model(settings.of_model(name), version="1")._bound_deployment
    options = deployment.ray_actor_options
    return deployment.num_replicas, options["num_gpus"], options["num_cpus"], deployment.init_args[3]


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_several_models_share_the_gpus_evenly_or_as_they_say() -> None:
    replicas, gpus, cpus, others = of_several("a", a={}, b={})
    assert (replicas, gpus, cpus, others) == (
        4,
        0.25,
        1,
        Catalogued(2, None),
    )  # two replicas on each GPU share an engine
    assert of_several("a", a={"num_gpus": 0.5}, b={}) == (2, 0.25, 1, Catalogued(2, None))
    assert of_several("a", a={"num_gpus": 0.5, "replicas_per_gpu": 1}, b={})[:2] == (1, 0.5)
    assert of_several("a", a={"num_gpus": 1, "replicas_per_gpu": 1}, b={})[:2] == (1, 1)
    replicas, gpus, _, others = of_several("a", a={"engine": "onnx"}, b={})
    assert (replicas, gpus) == (1, 0)
    assert others.check is check_model  # its engine lives in the replica


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_a_model_of_several_is_known_to_serve_by_its_version() -> None:
    settings = ApplicationSettings(models={"a": {"model": "demo"}})
    _, build_model, _ = build_catalog(settings)._bound_deployment.init_args
    assert build_model(settings.of_model("a"), version="17")._bound_deployment._version == "17"


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_models_that_are_rarely_used_share_replicas_one_on_each_gpu() -> None:
    rare = {name: {"model": "demo", "rarely_used": True} for name in "bcd"}
    settings = ApplicationSettings(models={"a": {"model": "demo"}, **rare}, rarely_used={"loaded": 2})
    _, build_model, build_rare = build_catalog(settings)._bound_deployment.init_args
    deployment = build_rare(version="17")._bound_deployment
    assert (deployment.num_replicas, deployment.ray_actor_options["num_gpus"]) == (2, 0.5)
    assert deployment._version == "17"
    known = deployment.init_args[0]
    assert (list(known.models), known.sharing, known.check) == (["b", "c", "d"], 3, check_model)
    own = build_model(settings.of_model("a"), version="1")._bound_deployment
    assert own.init_args[3].models == 3  # itself, and two of the others at a time


@pytest.mark.usefixtures("sixteen_cores_two_gpus")
def test_the_replicas_of_all_models_keep_the_limits_of_keys_together(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json")
    models = {"a": {}, "b": {"num_gpus": 0, "cpu_replicas": 3}, "c": {"rarely_used": True}}
    settings = ApplicationSettings(
        models={name: {"model": "demo", **given} for name, given in models.items()},
        access={"keys_file": str(tmp_path / "keys.json")},
    )
    _, build_model, build_rare = build_catalog(settings)._bound_deployment.init_args
    each = [build_model(settings.of_model(name), version="1")._bound_deployment for name in "ab"]
    rare = build_rare(version="1")._bound_deployment
    total = sum(deployment.num_replicas for deployment in (*each, rare))
    assert [deployment.init_args[3].replicas for deployment in each] == [total] * 2
    assert rare.init_args[0].all_replicas == total


def test_a_replica_asks_the_ledger_of_the_whole_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json")
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(deployment, "quotas_of", lambda *given: asked.append(given))
    replica = SimpleNamespace(app_name="detector.ships.v2")
    monkeypatch.setattr(serve, "get_replica_context", lambda: replica)
    settings = ServiceSettings(name="ships.v2", access={"keys_file": str(tmp_path / "keys.json")})
    for catalogued in (None, Catalogued(2, None, 5)):
        guard = deployment._open_guard(settings, 3, catalogued)
        assert guard is not None
        guard.close()
    assert asked == [(3,), (5, "detector")]
