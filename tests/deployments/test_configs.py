"""Every shipped configuration loads, and a wrong one fails at start by name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from azaion_engine.errors import ConfigurationError
from deployments.app import build, build_application
from deployments.service_settings import ServiceSettings
from tests.deployments.conftest import free_port
from tests.stand_in import open_stand_in

ROOT = Path(__file__).parents[2]
CONFIGS = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_a_valid_serve_config_with_valid_settings(path):
    config = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    [application] = config.applications
    assert application.import_path == "deployments.app:build"
    settings = ServiceSettings(**application.args)
    build_application(settings.model_copy(update={"engine": "auto"}), open_stand_in)


def test_tensorrt_without_a_gpu_in_the_cluster_is_refused():
    assert not ray.is_initialized()
    with pytest.raises(ConfigurationError, match="needs a GPU"):
        build(ServiceSettings(engine="tensorrt"))


def test_autoscaling_gives_each_replica_a_gpu_between_the_bounds():
    application = build_application(ServiceSettings(autoscale={"min_gpus": 2, "max_gpus": 5}), open_stand_in)
    deployment = application._bound_deployment
    assert deployment.ray_actor_options["num_gpus"] == 1
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)


def serve_run(config: dict, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `serve run` in a Ray of its own until it ends by itself."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "ray.serve.scripts", "run", str(path)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=120, check=False)


@pytest.mark.parametrize(
    ("args", "named"), [({"modle": "demo"}, "modle"), ({"confidence": 7}, "confidence"), ({"num_gpus": "every"}, "num_gpus")]
)
def test_a_wrong_key_or_value_fails_at_start_with_its_name(args, named, tmp_path):
    done = serve_run(
        {
            "http_options": {"host": "127.0.0.1", "port": free_port()},
            "applications": [{"name": "detector", "import_path": "deployments.app:build", "args": args}],
        },
        tmp_path,
    )
    assert done.returncode != 0
    assert named in done.stdout + done.stderr


def test_serve_build_writes_a_config_of_the_application(tmp_path):
    command = [sys.executable, "-m", "ray.serve.scripts", "build", "deployments.app:build", "-o", str(tmp_path / "o.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    [application] = yaml.safe_load((tmp_path / "o.yaml").read_text())["applications"]
    assert application["deployments"][0]["name"] == "DetectorDeployment"
