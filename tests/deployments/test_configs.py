"""Configurations: every shipped one loads; a wrong one fails at start with an error that names the setting."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import yaml
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema

from azaion_engine.errors import ConfigurationError
from deployments.app import build, build_application
from deployments.cluster.grpc_host import is_loopback
from deployments.frontends.open_inference.grpc_service import add_open_inference
from deployments.settings import ApplicationSettings, ServiceSettings
from tests.ports import listeners_of, row_of, unlike_table
from tests.running_serve import free_port
from tests.stand_in import open_stand_in

ROOT = Path(__file__).parents[2]
GRPC_METHODS = "deployments.frontends.open_inference.grpc_service.add_open_inference"
CONFIGS = [ROOT / "serve_config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_is_a_valid_serve_config_with_valid_settings(path):
    text = path.read_text()
    config = ServeDeploySchema.model_validate(yaml.safe_load(text))
    [application] = config.applications
    assert application.import_path == "deployments.app:build"
    # On loopback gRPC is off until the signs before its lines are removed: `serve run` would open it to everybody.
    local = config.http_options.host == "127.0.0.1"
    assert local == (not config.grpc_options.grpc_servicer_functions)
    with_grpc = yaml.safe_load(re.sub(r"^# (grpc_options:|  \w)", r"\1", text, flags=re.MULTILINE))["grpc_options"]
    assert gRPCOptions(**with_grpc).grpc_servicer_func_callable == [add_open_inference]
    settings = ApplicationSettings(**application.args)
    for name in settings.models or [None]:
        one = settings.of_the_only_model() if name is None else settings.of_model(name)
        build_application(one.model_copy(update={"engine": "auto"}), open_stand_in)


def test_tensorrt_without_a_gpu_in_the_cluster_is_refused(no_ray):
    with pytest.raises(ConfigurationError, match="needs a GPU"):
        build(ApplicationSettings(engine="tensorrt"))


def test_autoscaling_gives_each_replica_a_gpu_between_the_bounds():
    application = build_application(ServiceSettings(autoscale={"min_gpus": 2, "max_gpus": 5}), open_stand_in)
    deployment = application._bound_deployment
    assert deployment.ray_actor_options["num_gpus"] == 1
    scaling = deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 5)


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def test_serve_run_names_a_wrong_key_at_start(no_ray, tmp_path):
    http, grpc_port = free_port(), free_port()
    config = {
        "http_options": {"host": "127.0.0.1", "port": http},
        "grpc_options": {"port": grpc_port, "grpc_servicer_functions": [GRPC_METHODS]},
        "applications": [{"name": "detector", "import_path": "deployments.app:build", "args": {"modle": "demo"}}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "ray.serve.scripts", "run", "config.yaml"]
    # `serve run` does not exit on an error: read its output until the name appears, then stop it.
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline, seen = time.monotonic() + 90, ""
        while "Extra inputs are not permitted" not in seen and time.monotonic() < deadline:
            line = process.stdout.readline()
            assert line, f"serve run ended early:\n{seen}"
            seen += line
        assert "modle" in seen
        # What Ray and Serve have opened by now, without a replica.
        found = listeners_of(process.pid)
        if not is_loopback(ray.util.get_node_ip_address()):  # else this machine has no network to listen on
            assert unlike_table(found, "`serve run`, HTTP on 127.0.0.1", http, grpc_port, haproxy=False) == []
        rows = {row_of(each, http, grpc_port, haproxy=False) for each in found}
        assert rows >= {"HTTP", "gRPC, where it is asked for", "GCS", "Ray's dashboard agent"}
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:  # Serve sometimes takes longer to end; the output has been read already
            process.kill()
            process.communicate()


def test_serve_build_writes_a_config_of_the_application(no_ray, tmp_path):
    command = [sys.executable, "-m", "ray.serve.scripts", "build", "deployments.app:app", "-o", "built.yaml"]
    subprocess.run(command, env=environment(), cwd=tmp_path, check=True, capture_output=True, timeout=120)
    [application] = yaml.safe_load((tmp_path / "built.yaml").read_text())["applications"]
    assert application["import_path"] == "deployments.app:app"
    assert application["deployments"][0]["name"] == "DetectorDeployment"
