"""Throughput mode: one list of settings in two files, and a HAProxy that no other service of the machine shares."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from azaion_cli import throughput
from azaion_cli.throughput import EITHER_MODE, SETTINGS, dead_ray, running_ray, serve_environment
from azaion_engine.errors import ConfigurationError
from deployments.cluster import haproxy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder with a short path, as HAProxy's sockets need."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setattr(haproxy, "_LONGEST_FOLDER", len(folder) + 40)
        yield Path(folder)


def test_the_file_for_clusters_has_the_same_settings() -> None:
    lines = (shlex.split(line, comments=True) for line in (ROOT / "configs/throughput.env").read_text().splitlines())
    in_file = dict(words[0].split("=", 1) for words in lines if words)
    assert in_file.pop("RAY_SERVE_HAPROXY_BINARY_PATH") == "$(python -m deployments.cluster.haproxy)"
    assert in_file == {**EITHER_MODE, **SETTINGS}


def test_the_file_for_clusters_names_the_launcher_of_haproxy(temporary: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = 'set -a; . configs/throughput.env; echo "$RAY_SERVE_HAPROXY_BINARY_PATH"'
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    ran = subprocess.run(["sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    launcher = Path(ran.stdout.strip())
    assert launcher.parent.name == "haproxy", ran.stderr
    assert "127.0.0.1" in launcher.read_text()


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("mode", [True, False])
def test_where_http_listens_on_loopback_ray_and_grpc_do_too(mode: bool) -> None:
    closed = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "AZAION_GRPC_HOST": "127.0.0.1"}
    assert serve_environment({}, 8000, mode, "127.0.0.1")[0].items() >= closed.items()
    assert not closed.keys() & serve_environment({}, 8000, mode, "0.0.0.0")[0].keys()
    own = {"AZAION_GRPC_HOST": "10.0.0.1"}
    assert serve_environment(own, 8000, mode, "127.0.0.1")[0].items() >= own.items()


def test_haproxys_files_are_of_this_user_alone(temporary: Path) -> None:
    environment, missing = serve_environment({}, 8000, throughput=True)
    assert not missing
    folder = temporary / f"azaion-{os.getuid()}" / "haproxy"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert environment["RAY_SERVE_HAPROXY_SERVER_STATE_BASE"] == str(folder)
    for name in ("CONFIG_FILE_LOC", "SOCKET_PATH", "SERVER_STATE_FILE", "METRICS_SOCKET_PATH"):
        assert Path(environment[f"RAY_SERVE_HAPROXY_{name}"]).parent == folder
    folder.chmod(0o755)
    with pytest.raises(ConfigurationError, match="of this user alone"):
        serve_environment({}, 8000, throughput=True)


def test_sockets_lie_in_tmp_where_the_temporary_folder_has_too_long_a_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "very" / "long"))
    environment, _ = serve_environment({}, 8000, throughput=True)
    path = environment["RAY_SERVE_HAPROXY_SOCKET_PATH"]
    assert path == f"/tmp/azaion-{os.getuid()}/haproxy/admin"


@pytest.mark.usefixtures("temporary")
def test_ports_that_are_taken_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    stats, metrics = "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT"
    # Below those that the system gives to connections, so that they stay free.
    blocks = (range(first, first + 7) for first in range(21_000, 32_000, 7))
    port, *_, free = next(block for block in blocks if not any(throughput.taken("", port) for port in block))
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr(throughput, "_PORTS", {stats: port, metrics: free})
        monkeypatch.setattr(throughput, "_REPLICAS_GRPC", range(port, port + 2 * 3, 3))
        environment, _ = serve_environment({}, 8000, throughput=True)
        assert environment[stats] != str(port)
        assert 20_000 <= int(environment[stats]) < 30_000, "Ray takes the system's while it starts"
        assert environment[metrics] == str(free)
        assert environment["RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT"] == str(port + 3)
        assert environment["RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT"] == str(port + 5)


@pytest.mark.usefixtures("temporary")
def test_a_stop_waits_for_no_load_balancer_unless_ray_belongs_to_others() -> None:
    draining = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
    assert serve_environment({}, 8000, throughput=True)[0][draining] == "1"
    assert serve_environment({"RAY_ADDRESS": "local"}, 8000, throughput=True)[0][draining] == "1"
    assert draining not in serve_environment({"RAY_ADDRESS": "auto"}, 8000, throughput=True)[0]
    assert draining not in serve_environment({}, 8000, throughput=False)[0]


def test_a_ray_that_was_started_beforehand_is_found_where_ray_finds_it(tmp_path: Path) -> None:
    given = {"TMPDIR": str(tmp_path)}
    assert running_ray(given) == ""
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as gcs:
        address = f"127.0.0.1:{gcs.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"{address}\n")
        assert (running_ray(given), dead_ray(given)) == (address, "")
        assert running_ray({**given, "RAY_ADDRESS": "local"}) == ""
        assert serve_environment(given, 8000, throughput=True) == ({**EITHER_MODE, **given}, "")
    assert (running_ray(given), dead_ray(given)) == ("", address)
    assert dead_ray({**given, "RAY_ADDRESS": "local"}) == ""
    assert serve_environment(given, 8000, throughput=False) == ({**EITHER_MODE, **given, "RAY_ADDRESS": "local"}, "")


@pytest.mark.parametrize("binary", ["/nowhere/haproxy", "/bin/false"])
def test_without_a_haproxy_that_runs_the_other_settings_stay(binary: str) -> None:
    given = {"RAY_SERVE_HAPROXY_BINARY_PATH": binary}
    environment, missing = serve_environment(given, 8000, throughput=True)
    assert binary in missing
    assert environment.items() >= {**SETTINGS, "RAY_SERVE_ENABLE_HA_PROXY": "0"}.items()


def test_free_ports_differ_can_be_bound_and_are_none_that_ray_or_the_system_gives_away() -> None:
    ports = throughput.free_ports(4)
    assert len(set(ports)) == 4
    lowest_of_system = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(20_000 <= port < min(lowest_of_system, 30_000) for port in ports)
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()
    assert throughput.free_ports(1, {*range(20_000, 30_000)} - {ports[2]}) == [ports[2]]
    with pytest.raises(ConfigurationError, match="no 1 free ports from 20000 on"):
        throughput.free_ports(1, range(20_000, 30_000))
