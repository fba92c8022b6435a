"""`azaion cache` and `azaion inspect`: the stored plans, why one cannot be reused, and the content of a plan file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from azaion_cli.exit_codes import ExitCode
from azaion_engine.plans.store import PlanStore
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine.keys import KEY
from tests.azaion_engine.signatures import make_model

Cli = Callable[..., Ran]
FILENAME = "azaion.cc_9.0_sm_132.engine"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with one plan of another machine."""
    PlanStore(tmp_path / "cache").get_or_build("yolo", FILENAME, KEY, build=lambda: b"plan" * 500, load=bytes)
    return tmp_path / "cache"


def test_ls_tells_name_size_and_every_reason(azaion: Cli, h200: Any, cache: Path) -> None:
    [engine] = azaion("cache", "ls", "--cache-dir", cache, "--json").json["engines"]
    assert engine["name"] == f"yolo-{KEY.folder_hash()}/{FILENAME}"
    assert (engine["bytes"], engine["reusable"]) == (2000, False)
    assert engine["why_not"] == [
        "TensorRT version: built with 10.13.0, this is 8.6.0",
        "GPU: built with NVIDIA H100 80GB HBM3, this is NVIDIA H200",
        "GPU memory: built with 80 GiB, this is 140 GiB",
    ]
    assert engine["manifest"]["key"]["precision"] == "fp16"
    shown = azaion("cache", "ls", "--cache-dir", cache)
    for words in (engine["name"], "640x1280", "batch 32", *engine["why_not"]):
        assert words in shown.out


def test_an_engine_built_here_would_be_reused_until_its_plan_is_damaged(
    azaion: Cli, h200: Any, tiny: Path, tmp_path: Path
) -> None:
    azaion("build", tiny, "--cache-dir", tmp_path / "c", "--batch-size", 2)
    [engine] = azaion("inspect", tmp_path / "c", "--json").json["engines"]
    assert (engine["reusable"], engine["why_not"]) == (True, [])
    wanted = ("inspect", tmp_path / "c", "--model", tiny)
    assert azaion(*wanted, "--set", "batch_size=2", "--json").json["engines"][0]["reusable"]
    assert azaion(*wanted, "--set", "batch_size=4", "--set", "precision=fp32", "--json").json["engines"][0][
        "why_not"
    ] == [
        "precision: built with fp16, this is fp32",
        "batch profile (min, opt, max): built with 1/2/2, this is 1/4/4",
    ]
    path = Path(engine["path"])
    path.write_bytes(path.read_bytes()[:-1])
    [engine] = azaion("inspect", tmp_path / "c", "--json").json["engines"]
    assert "truncated" in engine["why_not"][0]


def test_without_a_gpu_the_manifest_still_tells_what_was_chosen(
    azaion: Cli, no_gpu: None, cache: Path, tiny: Path
) -> None:
    plan = next(cache.rglob("*.engine"))
    shown = azaion("inspect", plan, "--model", tiny, "--json").json
    assert not shown["opened"]
    assert "PyCUDA" in shown["why_not_opened"]
    assert "PyCUDA" in shown["why_not"][0]
    assert any(reason.startswith("model: built with abab") for reason in shown["why_not"])
    assert "NVIDIA H100" in azaion("inspect", plan).out


def test_rm_removes_what_is_named_and_nothing_else(azaion: Cli, cache: Path, tmp_path: Path) -> None:
    other = KEY.model_copy(update={"precision": "fp32"})
    for name, key in (("yolo", other), ("boats", KEY)):
        PlanStore(cache).get_or_build(name, FILENAME, key, build=lambda: b"plan" * 500, load=bytes)
    assert azaion("cache", "rm", "cars", "--cache-dir", cache).code == ExitCode.USAGE
    assert azaion("cache", "rm", "yolo", "--all", "--cache-dir", cache).code == ExitCode.USAGE
    ran = azaion("cache", "rm", f"yolo-{KEY.folder_hash()}", "--cache-dir", cache, "--json")
    assert [Path(entry["path"]).parent.name for entry in ran.json["removed"]] == [f"yolo-{KEY.folder_hash()}"]
    assert sorted(path.name for path in cache.iterdir()) == sorted(
        [f"yolo-{other.folder_hash()}", f"boats-{KEY.folder_hash()}"]
    )
    assert azaion("cache", "rm", "yolo", "--cache-dir", cache).out.startswith("removed ")
    assert azaion("cache", "rm", "--all", "--cache-dir", cache).code == ExitCode.OK
    assert list(cache.iterdir()) == []


def test_rm_leaves_an_engine_that_is_being_built(azaion: Cli, cache: Path) -> None:
    plan = next(cache.rglob("*.engine"))
    with FileLock(f"{plan}.lock"):
        ran = azaion("cache", "rm", "yolo", "--cache-dir", cache, "--json")
    assert ran.code == ExitCode.ENVIRONMENT
    assert json.loads(ran.err)["error"]["code"] == "cache"
    assert plan.exists()


def test_inspect_shows_a_plan_with_its_tensors_and_layers(azaion: Cli, h200: Any, tiny: Path, tmp_path: Path) -> None:
    azaion("build", tiny, "--output", tmp_path / "tiny.engine", "--batch-size", 4)
    shown = azaion("inspect", tmp_path / "tiny.engine", "--layers", "--json").json
    assert shown["opened"]
    assert shown["reusable"]
    assert shown["layer_count"] == len(shown["layers"])
    assert "/head/predict" in shown["layers"]
    assert shown["tensors"][0]["profile"] == [[1, 3, 64, 64], [4, 3, 64, 64], [4, 3, 64, 64]]
    people = azaion("inspect", tmp_path / "tiny.engine").out
    for words in ("NVIDIA H200", "images float32 [?, 3, 64, 64]", "reused here"):
        assert words in people


def test_inspect_shows_an_onnx_file_and_its_engines(azaion: Cli, h200: Any, tiny: Path, tmp_path: Path) -> None:
    azaion("build", tiny, "--cache-dir", tmp_path / "c", "--batch-size", 2)
    shown = azaion("inspect", tiny, "--cache-dir", tmp_path / "c", "--layers", "--json").json
    assert shown["supported"]
    assert shown["inputs"] == [{"name": "images", "dtype": "float32", "shape": [-1, 3, 64, 64]}]
    assert shown["classes"] == {"0": "car", "1": "person", "2": "tank"}
    assert shown["operators"]["Conv"] == 3
    assert sum(shown["operators"].values()) == len(shown["layers"])
    assert shown["parameters"]["float32"] > 100
    assert [engine["reusable"] for engine in shown["engines"]] == [True]
    people = azaion("inspect", tiny, "--layers").out
    for words in ("images float32 [?, 3, 64, 64]", "3 Conv", "1 person", "/head/predict"):
        assert words in people


def test_inspect_says_why_a_model_is_no_detector(azaion: Cli, tmp_path: Path) -> None:
    model = tmp_path / "raw.onnx"
    model.write_bytes(make_model({"scores": np.zeros((1, 5, 4), np.float32)}))
    shown = azaion("inspect", model, "--cache-dir", tmp_path, "--json").json
    assert not shown["supported"]
    assert "no known detection head" in shown["why_not"]


def test_cache_alone_lists(azaion: Callable[..., Ran], tmp_path: Path) -> None:
    alone, listed = azaion("cache", "--cache-dir", tmp_path), azaion("cache", "ls", "--cache-dir", tmp_path)
    assert (alone.code, alone.out, alone.err) == (listed.code, listed.out, listed.err)
    assert alone.code == ExitCode.OK
    assert azaion("cache", "--json", "--cache-dir", tmp_path).json == {"directory": str(tmp_path), "engines": []}
