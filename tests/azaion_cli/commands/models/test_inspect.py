"""`azaion inspect` and `azaion detect` judge a model file alike: same words, same exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from azaion_cli.exit_codes import ExitCode
from azaion_engine.model.file import sample_picture
from tests.azaion_cli.conftest import Ran
from tests.azaion_engine import signatures
from tests.azaion_engine.models import make_detector

Cli = Callable[..., Ran]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A model with its weights in `split.onnx.data` beside it."""
    model = onnx.load_model_from_string(make_detector())
    (folder := tmp_path / "split").mkdir()
    onnx.save(model, folder / "split.onnx", save_as_external_data=True, location="split.onnx.data", size_threshold=0)
    return folder / "split.onnx"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (path := tmp_path / "sample.jpg").write_bytes(sample_picture())
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("best.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "a PyTorch checkpoint"),
        ("lfs.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer"),
        ("net.zip", b"PK\x03\x04" + b"\0" * 60, "a ZIP archive"),
        ("page.onnx", b"<!doctype html>", "an HTML page"),
        ("empty.onnx", b"", "an empty file"),
        ("photo.jpg", sample_picture(), "a picture (JPEG)"),
        ("cut.onnx", make_detector()[:4000], "a damaged ONNX file (cut short"),
        ("garbled.onnx", make_detector()[:200] + b"\xff" * 50 + make_detector()[250:], "or a damaged one"),
        ("noise", b"\xfe\xdc" * 40, "of no known kind"),
        ("noise.engine", b"hello engine", "a text file"),
    ],
)
def test_what_is_no_model_is_named_alike(
    azaion: Cli, tmp_path: Path, picture: Path, name: str, content: bytes, words: str
) -> None:
    (path := tmp_path / name).write_bytes(content)
    inspected, detected = azaion("inspect", path), azaion("detect", picture, "--model", path, "--engine", "onnx")
    assert inspected.err == detected.err
    assert words in inspected.err
    assert inspected.err.count("\n") == 1
    assert (inspected.code, detected.code) == (ExitCode.MODEL, ExitCode.MODEL)
    assert inspected.out == detected.out == ""


def test_metadata_that_promise_other_rows_are_found_out_alike(azaion: Cli, tmp_path: Path, picture: Path) -> None:
    (path := tmp_path / "best.onnx").write_bytes(
        signatures.make_model({"output0": signatures.rows() / 100}, metadata=signatures.METADATA)
    )
    shown = azaion("inspect", path, "--json").json
    assert not shown["supported"]
    detected = azaion("detect", picture, "--model", path, "--engine", "onnx")
    assert shown["why_not"] in " ".join(detected.err.split())
    assert "is no list of boxes" in shown["why_not"]


def test_a_folder_with_a_model_of_tensorflow_is_named_alike(azaion: Cli, tmp_path: Path, picture: Path) -> None:
    (folder := tmp_path / "saved").mkdir()
    (folder / "saved_model.pb").touch()
    inspected, detected = azaion("inspect", folder), azaion("detect", picture, "--model", folder)
    assert inspected.err == detected.err
    assert "a TensorFlow model (SavedModel)" in inspected.err


def test_a_model_with_weights_beside_it_is_shown_and_used(
    azaion: Cli, split: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole.onnx").write_bytes(make_detector())
    monkeypatch.chdir(tmp_path)
    shown = azaion("inspect", split, "--json").json
    assert shown["supported"]
    assert shown["weight_files"] == ["split.onnx.data"]
    assert shown["bytes"] > split.stat().st_size
    assert f"{split} with the weights of split.onnx.data, " in azaion("inspect", split).out.replace("\n", " ")
    boxes = [
        azaion("detect", picture, "--model", model, "--engine", "onnx", "-c", "0").out
        for model in (split, tmp_path / "whole.onnx")
    ]
    assert boxes[0] == boxes[1]
    assert json.loads(boxes[0])["boxes"]


def test_missing_weights_are_told_alike(azaion: Cli, split: Path, picture: Path) -> None:
    (split.parent / "split.onnx.data").unlink()
    inspected, detected = azaion("inspect", split), azaion("detect", picture, "--model", split, "--engine", "onnx")
    assert inspected.err == detected.err
    assert "its weights are in 'split.onnx.data', missing from" in inspected.err
    assert inspected.code == detected.code == ExitCode.MODEL


def test_an_engine_is_shown_by_inspect_and_explained_by_detect(azaion: Cli, tmp_path: Path, picture: Path) -> None:
    (path := tmp_path / "renamed.bin").write_bytes(b"ftrt" + b"\0" * 100)
    assert azaion("inspect", path, "--json").json["kind"] == "plan"
    detected = azaion("detect", picture, "--model", path)
    assert detected.code == ExitCode.MODEL
    assert "is a TensorRT engine, not an ONNX file" in detected.err


def test_a_plan_is_built_from_weights_beside_the_model_and_rebuilt_when_they_change(
    azaion: Cli, h200: Any, split: Path, tmp_path: Path
) -> None:
    arguments = ("build", split, "--cache-dir", tmp_path / "c", "--batch-size", 2, "--json")
    assert [azaion(*arguments).json["action"] for _ in range(2)] == ["built", "loaded"]
    [engine] = azaion("inspect", split, "--cache-dir", tmp_path / "c", "--json").json["engines"]
    assert engine["reusable"]
    weights = split.parent / "split.onnx.data"
    weights.write_bytes(b"\x01" + weights.read_bytes()[1:])  # the last bits of the first weight
    assert azaion("inspect", split, "--cache-dir", tmp_path / "c", "--json").json["engines"] == []
    assert azaion(*arguments).json["action"] == "built"
    assert len(h200.builds) == 2
