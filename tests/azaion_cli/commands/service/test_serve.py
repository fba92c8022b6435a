"""`azaion serve`: the command and environment that it starts, and one real service over HTTP in throughput mode."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from azaion_cli import foreground, joining, throughput
from azaion_cli.checks import preflight
from azaion_cli.exit_codes import ExitCode
from azaion_engine.model.file import sample_picture
from tests.azaion_cli.conftest import Ran
from tests.azaion_cli.service_process import start_service
from tests.ports import listeners_of, row_of, table, unlike_table
from tests.running_serve import free_port

Cli = Callable[..., Ran]
ROOT = Path(__file__).parents[4]


def listeners(port: int) -> set[tuple[str, str]]:
    """Returns name and address of every process that listens on a port."""
    found = {
        (c.pid, c.laddr.ip) for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port
    }
    return {(psutil.Process(pid).name(), address) for pid, address in found if pid and psutil.pid_exists(pid)}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """Collects, instead of starting it, the command, and the configuration that its process would read."""
    calls: list[tuple[list[str], str]] = []

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        assert program == sys.executable
        assert environment.items() >= throughput.EITHER_MODE.items()
        calls.append((arguments, Path(arguments[-1]).read_text()))

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(preflight, "taken", lambda host, port: False)
    return calls


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Collects, instead of starting Ray Serve, the environment that it would have."""
    found: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda program, arguments, environment: found.append(environment))
    monkeypatch.setattr(preflight, "taken", lambda host, port: False)
    for name in {name for name in os.environ if name.startswith(("RAY_", "MALLOC_"))}:
        monkeypatch.delenv(name)
    return found


def test_options_become_a_configuration_like_the_shipped_one(
    azaion: Cli, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert azaion("serve").code == ExitCode.OK
    assert azaion("serve", "-m", "tiny.onnx", "--port", 9, "--engine", "onnx", "--set", "max_queue=64").code == 0
    (command, plain), (_, chosen) = started
    assert command == [sys.executable, "-m", "azaion_cli.foreground", command[3]]
    shipped = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    assert ServeDeploySchema.model_validate(yaml.safe_load(plain)) == ServeDeploySchema.model_validate(shipped)
    config = yaml.safe_load(chosen)
    assert config["http_options"]["port"] == 9
    assert config["applications"][0]["args"] == {"model": str(tiny), "engine": "onnx", "max_queue": 64}


def test_a_configuration_in_the_folder_is_taken_and_options_replace_it(
    azaion: Cli, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serve_config.yaml").write_text("theirs")
    (tmp_path / "other.yaml").write_text("other")
    for arguments in ([], ["other.yaml"], ["--port", "9"]):
        assert azaion("serve", *arguments).code == ExitCode.OK
    assert [text[:6] for _, text in started] == ["theirs", "other", "proxy_"]
    both = azaion("serve", "other.yaml", "--port", "9")
    assert both.code == ExitCode.USAGE
    assert "--port" in both.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"confidense": 0.4}, "confidense: there is no such key; did you mean confidence?"),
        ({"confidence": 4}, "confidence: Input should be less than or equal to 1"),
        ({"models": {"cars": {"model": "demo", "colour": 1}}}, "models.cars.colour"),
    ],
)
def test_a_file_with_a_wrong_key_or_value_is_refused_before_anything_starts(
    azaion: Cli, started: list[Any], tmp_path: Path, arguments: dict[str, Any], told: str
) -> None:
    config = tmp_path / "config.yaml"
    application = {"import_path": "deployments.app:build", "args": arguments}
    config.write_text(yaml.safe_dump({"http_options": {"host": "127.0.0.1"}, "applications": [application]}))
    ran = azaion("serve", config)
    assert ran.code == ExitCode.USAGE
    assert told in ran.err
    assert started == []


def test_a_model_that_a_file_has_twice_is_refused_before_anything_starts(
    azaion: Cli, started: list[Any], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    models = "{cars: {model: demo}, ships: {model: demo}, cars: {model: other.onnx}}"
    config.write_text(
        "http_options: {host: 127.0.0.1}\napplications:\n- import_path: deployments.app:build\n"
        f"  args:\n    models: {models}\n"
    )
    ran = azaion("serve", config)
    assert ran.code == ExitCode.USAGE
    assert "the key 'cars' is there twice in one block, in lines 5 and 5" in ran.err
    assert started == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("applications:\n\t- x", "cannot start any token"),
        ("app: 1", "applications: Field required"),
        ("", "valid dictionary"),
        ("\0", "special characters are not allowed"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line_and_no_ray_is_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray is started"))
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert foreground.run(str(config)) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith(f"error: {config}: ")
    assert (told in said, said.count("\n")) == (True, 1)


def test_a_model_that_is_no_onnx_file_is_refused_before_anything_starts(
    azaion: Cli, started: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "photo.onnx").write_bytes(sample_picture())
    ran = azaion("serve", "--model", tmp_path / "photo.onnx")
    assert (ran.code, "is a picture" in ran.err) == (ExitCode.MODEL, True)
    assert started == []


def test_ray_starts_in_throughput_mode_and_the_command_says_so(
    azaion: Cli, environments: list[dict[str, str]], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"http_options": {"host": "127.0.0.1", "port": 8123}}))
    ran = azaion("serve", config)
    [environment] = environments
    assert environment.items() >= {**throughput.SETTINGS, **throughput.EITHER_MODE}.items()
    assert environment["PATH"] == os.environ["PATH"]
    assert ran.err == "throughput mode: HAProxy listens on 127.0.0.1:8123; --no-throughput leaves it off\n"
    config.write_text("{")  # Serve reports what is wrong with it
    assert "0.0.0.0:8000" in azaion("serve", config).err


@pytest.mark.parametrize(
    ("host", "keys", "warned"),
    [("0.0.0.0", False, True), ("0.0.0.0", True, False), ("127.0.0.1", False, False), ("::1", False, False)],
)
def test_a_service_that_others_reach_without_a_key_is_warned_of(
    azaion: Cli, started: list[Any], tmp_path: Path, host: str, keys: bool, warned: bool
) -> None:
    file = tmp_path / "keys.json"
    azaion("keys", "add", "lab", "--file", file)
    ran = azaion("serve", "--host", host, "--port", 8123, *(["--keys", file] if keys else []))
    assert (f"OPEN: HTTP listens on {host}" in ran.err) is warned
    [(_, text)] = started
    access = yaml.safe_load(text)["applications"][0]["args"].get("access")
    assert access == ({"keys_file": str(file)} if keys else None)


def test_a_keys_file_that_cannot_be_used_is_refused_before_anything_starts(
    azaion: Cli, started: list[Any], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    application = {"import_path": "deployments.app:build", "args": {"access": {"keys_file": str(tmp_path / "none")}}}
    config.write_text(yaml.safe_dump({"applications": [application]}))
    ran = azaion("serve", config)
    assert ran.code == ExitCode.ENVIRONMENT
    assert f"the keys file {tmp_path / 'none'} cannot be read" in ran.err
    assert started == []


@pytest.mark.parametrize("block", ["http_options", "grpc_options"])
def test_a_port_on_which_another_program_listens_is_refused_before_anything_starts(
    azaion: Cli, started: list[Any], monkeypatch: pytest.MonkeyPatch, block: str
) -> None:
    monkeypatch.setattr(preflight, "taken", throughput.taken)
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        option = {"http_options": "--port", "grpc_options": "--grpc-port"}
        ran = azaion("serve", option[block], number, *([] if block == "http_options" else ["--port", free_port()]))
    assert ran.code not in (ExitCode.OK, ExitCode.USAGE)
    assert f"port {number} on" in ran.err
    name = Path(psutil.Process().cmdline()[0]).name
    assert f"is taken: another program listens there ({name}, process {os.getpid()}); end it, or" in ran.err
    assert f"choose another port with {option[block]}" in ran.err
    assert block in ran.err
    assert started == []


def test_a_ray_that_died_is_not_joined(
    azaion: Cli, environments: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(address)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    ran = azaion("serve", "--port", 8123)
    assert environments[0]["RAY_ADDRESS"] == "local"
    assert environments[0].items() >= throughput.SETTINGS.items()
    assert f"the Ray at {address} has ended" in ran.err


def test_without_throughput_mode_ray_keeps_its_own_settings(azaion: Cli, environments: list[dict[str, str]]) -> None:
    assert azaion("serve", "--no-throughput", "--port", 8123).err == ""
    closed = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "AZAION_GRPC_HOST": "127.0.0.1"}
    assert environments == [{**os.environ, **throughput.EITHER_MODE, **closed}]


def test_the_users_variables_win(
    azaion: Cli, environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",
        "RAY_SERVE_HAPROXY_STATS_PORT": "8999",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "7",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "theirs:middlewares",
    }
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    azaion("serve", "--port", 8123)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    ran = azaion("serve", "--port", 8123)
    for environment in environments:
        assert environment.items() >= own.items()
    assert environments[1]["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert ran.err.startswith("throughput mode, without HAProxy")


def test_a_running_ray_is_told_to_have_its_own_environment(
    azaion: Cli, environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(joining, "check_joins", lambda *given: None)
    ran = azaion("serve", "--port", 8123)
    assert "Ray at 10.0.0.1:6379 keeps the environment" in ran.err
    assert "listens" not in ran.err
    assert "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S" not in environments[0]


def test_a_ray_that_runs_is_tried_and_joined_with_what_that_needs(
    azaion: Cli, environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    needs = {"RAY_AUTH_MODE": "token"}
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setattr(joining, "ray_to_join", lambda given: joining.LocalRay("10.0.0.1:6379", needs))
    monkeypatch.setattr(joining, "check_joins", lambda *given: tried.append(given))
    assert azaion("serve", "--port", 8123).code == ExitCode.OK
    assert tried == [("10.0.0.1:6379", needs, joining.TRY_S)]
    assert environments[0].items() >= {**needs, "RAY_ADDRESS": "10.0.0.1:6379"}.items()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_ray_that_does_not_answer_is_refused_at_once(
    azaion: Cli, environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    ran = azaion("serve", "--port", 8123)
    assert (ran.code, environments) == (ExitCode.ENVIRONMENT, [])
    assert f"no Ray answers at {address}" in ran.err


def test_a_haproxy_that_does_not_run_is_left_off_visibly(
    azaion: Cli, environments: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/bin/false")
    ran = azaion("serve", "--port", 8123)
    assert "throughput mode without HAProxy" in ran.err
    assert "/bin/false does not run" in ran.err
    assert environments[0].items() >= {**throughput.SETTINGS, "RAY_SERVE_ENABLE_HA_PROXY": "0"}.items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "modle=x"], "modle"),
        (["--model", "nothing-here.onnx"], "nothing-here.onnx"),
        (["--set", "batch_size=8", "--set", "max_queue=4"], "max_queue (4)"),
        (["--set", "autoscale.max_gpus=0"], "autoscale.max_gpus"),
        (["--set", "access.key_file=keys.json"], "access.key_file"),
        (["--keys", "nothing-here.json"], "nothing-here.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_service_would_refuse_is_refused_before_it_starts(
    azaion: Cli, started: list[Any], arguments: list[str], words: str
) -> None:
    ran = azaion("serve", *arguments)
    assert ran.code == ExitCode.USAGE
    assert words in ran.err
    assert not started


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    ("mode", "listener", "number"),
    [("--throughput", "haproxy", signal.SIGTERM), ("--no-throughput", "ray::ProxyActor", signal.SIGINT)],
)
def test_serves_boxes_from_an_empty_folder_and_answers_what_it_accepted_before_it_ends(
    tmp_path: Path, mode: str, listener: str, number: signal.Signals
) -> None:
    port, grpc_port = free_port(), free_port()
    process = start_service(tmp_path, port, mode, "--grpc-port", str(grpc_port))
    url = f"http://127.0.0.1:{port}"
    try:
        answer = httpx.post(f"{url}/detect?confidence=0.9&classes=car", content=sample_picture(), timeout=60).json()
        assert [box["class_name"] for box in answer["boxes"]] == ["car"]
        # What Java's HttpClient and `curl --http2` send first.
        offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
        same = httpx.post(f"{url}/detect?confidence=0.9", content=sample_picture(), headers=offer, timeout=60).json()
        assert [box["class_name"] for box in same["boxes"]].count("car") >= 1
        told = [httpx.post(f"{url}/v2/models/demo/infer", json={"inputs": []}, headers=h).json() for h in ({}, offer)]
        assert told[0] == told[1]
        assert httpx.head(f"{url}/model").headers["content-length"] == str(len(httpx.get(f"{url}/model").content))
        assert {name for name, _ in listeners(port)} == {listener}
        assert {address for _, address in listeners(port)} == {"127.0.0.1"}
        haproxy = mode == "--throughput"
        behind_haproxy = {row for row in table() if "HAProxy" in row}
        others = table().keys() - behind_haproxy - {"Ray Client"}
        deadline = time.monotonic() + 60
        while True:  # the dashboard's processes may listen later than the service
            open_ = listeners_of(process.pid)
            rows = {row_of(each, port, grpc_port, haproxy) for each in open_}
            if rows >= others or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        assert unlike_table(open_, "`azaion serve`, HTTP on 127.0.0.1", port, grpc_port, haproxy) == []
        assert rows - behind_haproxy == others
        assert (rows & behind_haproxy) == (behind_haproxy if mode == "--throughput" else set())
        log = (tmp_path / "log").read_text()
        assert (f"throughput mode: HAProxy listens on 127.0.0.1:{port}" in log) == (mode == "--throughput")
        assert "ready in" in log
        with ThreadPoolExecutor(6) as clients:
            asked = [
                clients.submit(httpx.post, f"{url}/detect?confidence=0.9", content=sample_picture(), timeout=60)
                for _ in range(6)
            ]
            time.sleep(0.5)  # a picture takes 0.25 s on two cores: most of them wait
            process.send_signal(number)
            assert [answer.result().status_code for answer in asked] == [200] * 6
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, (tmp_path / "log").read_text()
    deadline = time.monotonic() + 20
    while listeners(port):
        assert time.monotonic() < deadline, "a proxy outlives the service"
        time.sleep(0.2)
