"""`azaion serve`: the command that it starts, and one real service over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from azaion_cli.exit_codes import ExitCode
from azaion_engine.model.file import sample_picture
from tests.azaion_cli.conftest import Ran
from tests.running_serve import free_port

Cli = Callable[..., Ran]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """Collects, instead of starting it, the command, and the configuration that its process would read."""
    calls: list[tuple[list[str], str]] = []

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        assert program == sys.executable
        assert "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" in environment
        calls.append((arguments, Path(arguments[-1]).read_text()))

    monkeypatch.setattr(os, "execve", execve)
    return calls


def test_options_become_a_configuration_like_the_shipped_one(
    azaion: Cli, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert azaion("serve").code == ExitCode.OK
    assert azaion("serve", "-m", "tiny.onnx", "--port", 9, "--engine", "onnx", "--set", "max_queue=64").code == 0
    (command, plain), (_, chosen) = started
    assert command[:4] == [sys.executable, "-m", "ray.serve.scripts", "run"]
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
    ("arguments", "words"),
    [
        (["--set", "modle=x"], "modle"),
        (["--model", "nothing-here.onnx"], "nothing-here.onnx"),
        (["--set", "batch_size=8", "--set", "max_queue=4"], "max_queue (4)"),
        (["--set", "autoscale.max_gpus=0"], "autoscale.max_gpus"),
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


def test_serves_boxes_over_http_from_an_empty_folder_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    environment = {**kept, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "azaion_cli", "serve", "--port", str(port), "--engine", "onnx"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.5)
        answer = httpx.post(f"{url}/detect?confidence=0.9&classes=car", content=sample_picture(), timeout=60).json()
        assert [box["class_name"] for box in answer["boxes"]] == ["car"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) is not None
