"""HAProxy's launcher: Serve's own configuration, made closed to other machines and answering in JSON."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from azaion_engine.errors import ConfigurationError
from deployments.cluster import haproxy
from deployments.frontends.http_server import protocol
from tests.running_serve import free_port


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the launcher and of HAProxy's files."""
    monkeypatch.setattr(haproxy, "haproxy_folder", lambda: tmp_path)
    return tmp_path


@contextmanager
def started(folder: Path, backends: dict[str, BackendConfig]) -> Iterator[tuple[str, psutil.Process]]:
    """Starts the launcher as Serve does, with the configuration that Serve writes; yields its URL and process."""
    ports = [free_port() for _ in range(3)]
    config = HAProxyConfig(
        socket_path=str(folder / "admin"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        http_options=HTTPOptions(host="127.0.0.1", port=ports[0]),
        stats_port=ports[1],
        metrics_port=ports[2],
        metrics_enabled=False,
    )
    file = folder / "haproxy.cfg"
    HAProxyApi(config, backends, str(file))._generate_config_file_internal()
    binary = haproxy.find_haproxy({})
    assert binary is not None
    command = [str(haproxy.launcher_of(binary)), "-db", "-f", str(file)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while len(psutil.Process(process.pid).net_connections("tcp")) < 3:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{ports[0]}", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_haproxy_listens_on_loopback_alone_and_is_the_process_that_serve_started(folder: Path) -> None:
    with started(folder, {}) as (_, process):
        assert process.name() == "haproxy"
        assert str(folder / "haproxy.cfg") in process.cmdline(), "Serve knows its own by that"
        assert {each.laddr.ip for each in process.net_connections("tcp")} == {"127.0.0.1"}


def test_heads_have_a_time_and_replicas_learn_the_clients_address(folder: Path) -> None:
    with started(folder, {}):
        text = (folder / "haproxy.cfg").read_text()
    assert f"\ndefaults\n    timeout http-request {haproxy.HEAD_S}s\n    option forwardfor\n" in text
    assert haproxy.HEAD_S == protocol.HEAD_S


def error_of(answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "1"
    return answer.json()["error"]


def test_without_an_application_the_service_is_not_ready_in_json(folder: Path) -> None:
    with started(folder, {}) as (url, _):
        answer = httpx.post(f"{url}/detect", content=b"x")
        assert answer.status_code == 503
        assert (error_of(answer)["code"], error_of(answer)["status"]) == ("not_ready", 503)


def test_where_no_replica_listens_the_service_is_not_ready_and_a_wrong_path_stays_wrong(folder: Path) -> None:
    gone = ServerConfig("replica", "127.0.0.1", free_port())
    backend = BackendConfig(name="detector", path_prefix="/cars", app_name="detector", servers=[gone])
    with started(folder, {"detector": backend}) as (url, _):
        answer = httpx.post(f"{url}/cars/detect", content=b"x", timeout=30)
        assert (answer.status_code, error_of(answer)["code"]) == (503, "not_ready")
        assert httpx.get(f"{url}/elsewhere").status_code == 404


class Hung(BaseHTTPRequestHandler):
    """Serve's proxy without a replica: healthy, and no request ends."""

    def do_GET(self) -> None:
        if self.path != "/-/healthz":
            time.sleep(5)
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_probe_is_refused_within_a_second_though_replicas_are_gone_and_serve_waits_for_them(folder: Path) -> None:
    gone = [ServerConfig(f"replica-{i}", "127.0.0.1", free_port()) for i in range(2)]
    hung = ThreadingHTTPServer(("127.0.0.1", 0), Hung)
    threading.Thread(target=hung.serve_forever, daemon=True).start()
    fallback = ServerConfig("serve", "127.0.0.1", hung.server_port)
    backend = BackendConfig(
        name="detector", path_prefix="/", app_name="detector", servers=gone, fallback_server=fallback
    )
    seconds = []
    with started(folder, {"detector": backend}) as (url, _), httpx.Client(base_url=url, timeout=30) as client:
        for path in ("/readyz", "/v2/health/ready") * 2:
            begun = time.monotonic()
            answer = client.get(path)
            seconds.append(time.monotonic() - begun)
            assert (answer.status_code, error_of(answer)["code"]) == (503, "not_ready")
    hung.shutdown()
    most = (2 * haproxy.RETRY_MS + haproxy.PROBE_MS) / 1000
    assert most < 1
    assert min(seconds) < most, seconds  # the busiest machine lets one of four through in time
    assert max(seconds) < 4, seconds


def test_a_launcher_that_may_not_run_is_refused_with_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"does not run: .*set TMPDIR"):
        haproxy.launcher_of("/bin/false")


def test_a_haproxy_on_the_path_will_do_where_ray_brings_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "no `haproxy` on the PATH" in haproxy.missing_haproxy({})
    monkeypatch.setattr("shutil.which", lambda name: "/bin/true")
    assert not haproxy.missing_haproxy({})
