from __future__ import annotations

import json
import socket
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from azaion_cli.throughput import EITHER_MODE, SETTINGS
from azaion_engine.system.cores import available_cores
from benchmarks.peers.servers import ROOT, Server, workers_of

PICTURE = bytes(range(256)) * 3 + b"\x00\x00"
CONFIG = yaml.safe_load((ROOT / "configs" / "cpu.yaml").read_text())


def server(name: str) -> Server:
    return Server(name, CONFIG)


@pytest.mark.parametrize(("name", "field"), [("litserve", b'name="picture"'), ("bentoml", b'name="pictures"')])
def test_a_form_carries_the_picture_as_it_is(name: str, field: bytes) -> None:
    request = server(name).request(PICTURE)

    assert PICTURE in request.body
    assert field in request.body
    boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
    assert request.body.startswith(b"--" + boundary)


def test_triton_gets_the_picture_as_binary_behind_its_json() -> None:
    request = server("pytriton").request(PICTURE)
    size = int(request.headers["Inference-Header-Content-Length"])
    header, data = json.loads(request.body[:size]), request.body[size:]

    assert header["inputs"][0]["parameters"]["binary_data_size"] == len(data)
    assert data == struct.pack("<I", len(PICTURE)) + PICTURE


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("azaion", {"boxes": [{"x1": 1.0}]}),
        ("mosec", {"boxes": [{"x1": 1.0}]}),
        ("bentoml", [{"boxes": [{"x1": 1.0}]}]),
        ("pytriton", {"outputs": [{"data": ['{"boxes": [{"x1": 1.0}]}']}]}),
    ],
)
def test_each_server_s_answer_gives_its_boxes(name: str, answer: Any) -> None:
    assert server(name).boxes(answer) == [{"x1": 1.0}]


def test_what_only_the_service_knows_is_kept_from_the_peers() -> None:
    assert server("mosec").settings == {"model": "demo", "engine": "onnx"}


def test_on_a_cpu_one_worker_with_every_core_and_one_a_core_are_tried() -> None:
    assert workers_of(CONFIG) == sorted({1, available_cores()})


def test_a_server_that_is_not_installed_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.servers.ROOT", ROOT / "nowhere")
    with pytest.raises(SystemExit, match="mosec is not installed: `make peers`"):
        server("mosec").python()


def test_serve_knows_every_variable_of_the_throughput_mode() -> None:
    serve = find_spec("ray.serve")
    assert serve is not None
    assert serve.origin is not None
    constants = (Path(serve.origin).parent / "_private" / "constants.py").read_text()
    variables = {**SETTINGS, **EITHER_MODE}

    assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert [name for name in variables if name.startswith("RAY_SERVE_") and f'"{name}"' not in constants] == []


def test_a_port_that_is_taken_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("benchmarks.peers.servers.PORT_FREE_S", 0.1)
        monkeypatch.setattr("benchmarks.peers.servers.PORT", taken.getsockname()[1])
        with pytest.raises(SystemExit, match="something listens"), Server("azaion", CONFIG).running(b"", 1):
            pass
