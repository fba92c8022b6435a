"""The Ray of a service on this machine is found by its processes, as Linux tells of them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from azaion_cli import local_ray
from azaion_cli.local_ray import LocalRay, ray_to_join
from azaion_engine.errors import ConfigurationError


def process(proc: Path, pid: int, *arguments: str, **environment: str) -> None:
    folder = proc / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes("\0".join([*arguments, ""]).encode())
    (folder / "environ").write_bytes("".join(f"{name}={value}\0" for name, value in environment.items()).encode())


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(local_ray, "running_ray", lambda environment: environment.get("RAY_ADDRESS", ""))
    process(tmp_path, 1, "/sbin/init")
    process(tmp_path, 2, "/usr/bin/python", "agent.py", "--gcs-address=10.0.0.9:1")  # not the node itself
    (tmp_path / "3").mkdir()  # a process that has ended meanwhile
    return tmp_path


def test_the_only_ray_is_found_with_what_a_client_needs(proc: Path) -> None:
    process(proc, 7, "/ray/raylet", "--gcs-address=10.0.0.5:6379", RAY_AUTH_MODE="token", HOME="/root")
    for environment in ({}, {"RAY_ADDRESS": "auto"}):
        assert ray_to_join(environment, proc) == LocalRay("10.0.0.5:6379", {"RAY_AUTH_MODE": "token"})


def test_a_ray_on_loopback_is_not_looked_for_elsewhere(proc: Path) -> None:
    process(proc, 7, "/ray/raylet", "--gcs-address=127.0.0.1:6379")
    assert ray_to_join({}, proc) == LocalRay("127.0.0.1:6379", {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"})


def test_a_named_address_wins_and_none_or_several_are_refused(proc: Path) -> None:
    with pytest.raises(ConfigurationError, match="no Ray runs here; start the service first"):
        ray_to_join({}, proc)
    process(proc, 7, "/ray/raylet", "--gcs-address=10.0.0.5:1")
    process(proc, 8, "/ray/raylet", "--gcs-address=10.0.0.5:2", RAY_AUTH_MODE="token")
    with pytest.raises(ConfigurationError, match=r"several Rays run here: 10\.0\.0\.5:1, 10\.0\.0\.5:2"):
        ray_to_join({}, proc)
    assert ray_to_join({"RAY_ADDRESS": "10.0.0.5:2"}, proc) == LocalRay("10.0.0.5:2", {"RAY_AUTH_MODE": "token"})


def test_a_ray_named_by_loopback_is_joined_there_only_if_it_listens_nowhere_else() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as here:
        assert local_ray._listens_beyond_loopback(str(everywhere.getsockname()[1]))
        assert not local_ray._listens_beyond_loopback(str(here.getsockname()[1]))
