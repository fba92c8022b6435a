"""Troubleshooting's messages: each is provoked, and is what the program prints; `…` stands for any text."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import re
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from azaion_cli import throughput
from azaion_cli.checks import preflight
from azaion_engine.errors import AzaionError, PlanError
from azaion_engine.model.file import ModelFile, sample_picture
from azaion_engine.pictures.gpu import loader, nvjpeg
from azaion_engine.plans.store import PlanStore
from deployments import app
from deployments.cluster import haproxy, token
from deployments.settings import ApplicationSettings
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine.keys import KEY
from tests.azaion_engine.models import make_detector
from tests.deployments.access.keys_made import CREATED, add_key
from tests.deployments.in_process import ask, client, replica
from tests.docs.blocks import blocks
from tests.stand_in import grey_picture, open_very_slow_stand_in

Cli = Callable[..., Ran]
PAGE = Path("docs/guides/troubleshooting.md")
MESSAGES = {block.remark.removeprefix("message: "): block.text.rstrip("\n") for block in blocks("text", page=PAGE)}


def assert_printed(name: str, printed: str) -> None:
    pattern = ".*".join(map(re.escape, MESSAGES[name].split("…")))
    assert re.search(f"^{pattern}$", printed, re.MULTILINE), f"the page says\n{MESSAGES[name]}\nprinted was\n{printed}"


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Gives what was logged."""
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "ray.serve"), caplog.at_level(logging.INFO, "azaion_engine"):
        yield lambda: "\n".join(record.getMessage() for record in caplog.records)
    logger.removeHandler(caplog.handler)


def refused(response: httpx.Response) -> str:
    """Returns an error as the page shows it."""
    error = response.json()["error"]
    assert response.status_code == error["status"]
    return f"{error['status']} {error['code']}: {error['message']}"


# --- the service does not start -----------------------------------------------------------------


def test_port_taken(azaion: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        ran = azaion("serve", "--port", other.getsockname()[1])
    assert_printed("port_taken", ran.err)


def test_unknown_key(azaion: Cli) -> None:
    assert_printed("unknown_key", azaion("serve", "--set", "confidense=0.4").err)


def test_temporary_folder(azaion: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "missing" / "folder"))
    monkeypatch.setattr(preflight, "taken", lambda host, port: False)
    assert_printed("temporary_folder", azaion("serve", "--port", "23456").err)


def started(azaion: Cli, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Returns what `azaion serve` says until it would become Ray Serve."""
    monkeypatch.setattr("os.execve", lambda *_: None)
    monkeypatch.setattr(preflight, "taken", lambda host, port: False)
    monkeypatch.setattr(throughput, "running_ray", lambda environment: None)
    monkeypatch.setattr("azaion_cli.commands.service.serve.running_ray", lambda environment: None)
    return azaion("serve", *arguments).err


def test_haproxy_missing(azaion: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(throughput.HAPROXY, raising=False)
    monkeypatch.delenv(haproxy.BINARY, raising=False)
    monkeypatch.setattr(haproxy, "_bundled", lambda: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert_printed("haproxy_missing", started(azaion, monkeypatch))


def test_haproxy_off(monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]) -> None:
    monkeypatch.delenv(throughput.HAPROXY, raising=False)
    app._log_choice(gpus=1, per_gpu=1, replicas=1)
    assert_printed("haproxy_off", said())


def test_no_key(azaion: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_printed("no_key", started(azaion, monkeypatch, "--host", "0.0.0.0"))


# --- the model ----------------------------------------------------------------------------------


def test_no_model_file(azaion: Cli) -> None:
    assert_printed("no_model_file", azaion("detect", "a.jpg", "--model", "none.onnx").err)


def test_no_model_of_the_configuration() -> None:
    with pytest.raises(AzaionError) as refusal:
        ModelFile.read("/models/none.onnx")
    assert_printed("no_model_of_the_configuration", str(refusal.value))


def test_lfs_pointer(azaion: Cli, tmp_path: Path) -> None:
    path = tmp_path / "best.onnx"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5300000\n")
    assert_printed("lfs_pointer", azaion("inspect", path).err)


def test_checkpoint(azaion: Cli, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("best/data.pkl", pickle.dumps({}))
        archive.writestr("best/byteorder", b"little")
        archive.writestr("best/data/0", bytes(64))
    assert_printed("checkpoint", azaion("inspect", path).err)


def test_not_enough(azaion: Cli, tmp_path: Path) -> None:
    model = onnx.load_from_string(make_detector())
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    assert_printed("not_enough", azaion("inspect", tmp_path / "bare.onnx").out)


def save_model(path: Path, nodes: list[onnx.NodeProto], **outputs: list[int]) -> None:
    """Saves a model of these nodes, whose input is `images` [1, 3, 64, 64]."""
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_no_detector(azaion: Cli, tmp_path: Path) -> None:
    pooled = helper.make_node("GlobalAveragePool", ["images"], ["mean"])
    scores = helper.make_node("Flatten", ["mean"], ["scores"])
    save_model(tmp_path / "classifier.onnx", [pooled, scores], scores=[1, 3])
    assert_printed("no_detector", azaion("inspect", tmp_path / "classifier.onnx").out)


def test_undecoded(azaion: Cli, tmp_path: Path) -> None:
    maps = [
        helper.make_node("AveragePool", ["images"], [name], kernel_shape=[side, side], strides=[side, side])
        for name, side in (("p3", 8), ("p4", 16))
    ]
    save_model(tmp_path / "maps.onnx", maps, p3=[1, 3, 8, 8], p4=[1, 3, 4, 4])
    assert_printed("undecoded", azaion("inspect", tmp_path / "maps.onnx").out)


# --- the GPU ------------------------------------------------------------------------------------


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)


@pytest.mark.usefixtures("no_gpu")
def test_no_gpu(azaion: Cli, tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(make_detector())
    (tmp_path / "grey.png").write_bytes(grey_picture(90))
    assert_printed("no_gpu", azaion("detect", tmp_path / "grey.png", "--model", tmp_path / "tiny.onnx").err)


@pytest.mark.usefixtures("no_gpu")
def test_no_gpu_refused(azaion: Cli, tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(grey_picture(90))
    assert_printed("no_gpu_refused", azaion("detect", tmp_path / "grey.png", "--engine", "tensorrt").err)


def test_ray_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.cluster_resources", dict)
    with pytest.raises(AzaionError) as refusal:
        app.build(ApplicationSettings(engine="tensorrt"))
    assert_printed("ray_sees_no_gpu", str(refusal.value))


def open_plan(folder: Path, version: str, load: Callable[[bytes], bytes] = bytes) -> None:
    key = KEY.model_copy(update={"tensorrt_version": version})
    PlanStore(folder).get_or_build("demo", "azaion.cc_9.0_sm_132.engine", key, lambda: b"plan", load)


def test_other_tensorrt(tmp_path: Path, said: Callable[[], str]) -> None:
    open_plan(tmp_path, "10.3.0")
    open_plan(tmp_path, "10.13.2")
    assert_printed("other_tensorrt", said())


def test_plan_refused(tmp_path: Path, said: Callable[[], str]) -> None:
    open_plan(tmp_path, "10.3.0")
    asked: list[bytes] = []

    def refuse_the_stored(plan: bytes) -> bytes:
        asked.append(plan)
        if len(asked) <= 2:  # it looks again when it has the lock
            raise PlanError("TensorRT 10.3.0 cannot use this plan of 4 bytes here")
        return plan

    open_plan(tmp_path, "10.3.0", refuse_the_stored)
    assert_printed("plan_refused", said())


def test_cache_unwritable(tmp_path: Path, said: Callable[[], str]) -> None:
    (tmp_path / "cache").write_text("a file, where a folder is needed")
    open_plan(tmp_path / "cache", "10.3.0")
    assert_printed("cache_unwritable", said())


def test_no_nvjpeg(monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]) -> None:
    monkeypatch.setattr(nvjpeg, "load_libraries", list)
    for name in ("LetterboxKernel", "DeviceBuffer"):
        monkeypatch.setattr(loader, name, mock.MagicMock())
    memory = mock.MagicMock(shape=(1, 3, 64, 64))
    loader.PictureLoader(mock.MagicMock(), memory, mock.MagicMock(), mock.MagicMock(), nvjpeg.Nvjpeg)
    assert_printed("no_nvjpeg", said())


# --- requests -----------------------------------------------------------------------------------


def huge_png() -> bytes:
    """Encodes a black picture of more than 100 million pixels in a few bytes."""
    buffer = io.BytesIO()
    Image.new("1", (10001, 10001)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "path", "body", "settings"),
    [
        ("not_a_picture", "/detect", b"GIF89a", {}),
        ("damaged", "/detect", sample_picture()[:-9000], {}),
        ("picture_too_large", "/detect", huge_png, {}),
        ("body_too_large", "/detect", bytes(2000), {"max_picture_bytes": 1000}),
        ("decode_memory", "/detect", sample_picture(), {"max_decode_bytes": 2**24}),
        ("too_many_tiles", "/detect?tiles=64", sample_picture(), {"tiles": {"max_tiles": 64}}),
    ],
)
def test_refused_picture(name: str, path: str, body: bytes | Callable[[], bytes], settings: dict[str, Any]) -> None:
    with replica(batch_size=1, **settings):
        assert_printed(name, refused(ask(path, body() if callable(body) else body)))


def detect(keys: Path, secret: str, times: int = 1) -> str:
    """Returns the refusal of the last of so many requests with a key."""

    async def run() -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        async with client() as http:
            for _ in range(times):
                response = await http.post("/detect", content=grey_picture(7), headers=headers)
        return response

    with replica(access={"keys_file": str(keys)}, batch_size=1):
        return refused(asyncio.run(run()))


@pytest.mark.parametrize(
    ("name", "properties", "times"),
    [
        ("key_disabled", {"enabled": False}, 1),
        ("key_expired", {"expires": CREATED + timedelta(days=1)}, 1),
        ("rate_exceeded", {"rate": 0.01}, 2),
        ("daily_exceeded", {"daily": 1}, 2),
    ],
)
def test_refused_key(tmp_path: Path, name: str, properties: dict[str, Any], times: int) -> None:
    secret = add_key(tmp_path / "keys.json", **properties)
    assert_printed(name, detect(tmp_path / "keys.json", secret, times))


def test_unauthorized(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json")
    assert_printed("unauthorized", detect(tmp_path / "keys.json", ""))
    assert_printed("unknown_key_of_request", detect(tmp_path / "keys.json", "azk_other"))


def test_overloaded() -> None:
    async def run() -> list[httpx.Response]:
        async with client() as http:
            return await asyncio.gather(*(http.post("/detect", content=grey_picture(7)) for _ in range(2)))

    with replica(open_very_slow_stand_in, batch_size=1, max_queue=1):
        answers = asyncio.run(run())
    [overloaded] = [answer for answer in answers if answer.status_code != 200]
    assert_printed("overloaded", refused(overloaded))


# --- a cluster ----------------------------------------------------------------------------------


def test_token_off(monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]) -> None:
    monkeypatch.setattr(token, "token_is_on", lambda: False)
    token.check_token([{"NodeManagerAddress": "10.0.0.1", "Alive": True}], required=False)
    assert_printed("token_off", said())


def test_token_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "token_is_on", lambda: False)
    with pytest.raises(AzaionError) as refusal:
        token.check_token([], required=True)
    assert_printed("token_required", str(refusal.value))


def test_every_message_is_provoked() -> None:
    source = Path(__file__).read_text()
    unproved = [name for name in MESSAGES if f'"{name}"' not in source]
    assert (unproved, len(MESSAGES) > 30) == ([], True)
