"""benchmarks.zoo.folder: each file is made once, an exporter's fault is told and tried again, one manifest has all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.zoo.folder import Folder, clip, make_all


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "grey.png"), np.full((40, 60, 3), 128, np.uint8))
    return tmp_path


def made(_folder: Folder, path: Path) -> dict[str, Any]:
    path.write_bytes(path.read_bytes() + b"again" if path.exists() else b"once")
    return {"how": "by hand", "reference": {"grey.png": [[1, 2, 3, 4, 0.5, 0]]}}


def broken(_folder: Folder, _path: Path) -> dict[str, Any]:
    raise ValueError("no such operator\nwith details")


def run(monkeypatch: pytest.MonkeyPatch, zoo: Path, makers: dict[str, Any], *only: str) -> list[dict[str, Any]]:
    monkeypatch.setattr("sys.argv", ["maker", str(zoo), *only])
    monkeypatch.chdir(zoo)
    make_all("Makes.", makers)
    models: list[dict[str, Any]] = json.loads((zoo / "manifest.json").read_text())["models"]
    return models


def test_a_second_maker_keeps_the_first_one_s_files(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, zoo, {"a.onnx": made})
    models = run(monkeypatch, zoo, {"b.onnx": made})
    assert [model["file"] for model in models] == ["a.onnx", "b.onnx"]
    run(monkeypatch, zoo, {"a.onnx": made})
    assert (zoo / "a.onnx").read_bytes() == b"once"


def test_what_an_exporter_raises_is_told_and_tried_again(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = run(monkeypatch, zoo, {"a.onnx": broken, "b.onnx": made})
    assert [model.get("failed") for model in models] == ["ValueError: no such operator", None]
    assert "failed" not in run(monkeypatch, zoo, {"a.onnx": made})[0]


def test_only_the_files_asked_for_are_made(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = run(monkeypatch, zoo, {"a.onnx": made, "b.onnx": made}, "b")
    assert [model["file"] for model in models] == ["b.onnx"]


def test_boxes_are_clipped_to_the_picture_and_left_out_beside_it(zoo: Path) -> None:
    picture = Folder(zoo).pictures["grey.png"]
    assert clip([[-5, 3, 70, 9, 0.5, 1], [61, 0, 70, 9, 0.5, 1]], picture) == [[0, 3, 60, 9, 0.5, 1]]
