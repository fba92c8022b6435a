"""benchmarks.library.zoo: the table tells right boxes, wrong ones and refusals apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from azaion_engine.pictures.letterbox import Letterbox
from benchmarks.library import zoo
from tests.azaion_engine import signatures as s


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A zoo of one file with metadata and one without; the sample picture is 1600 x 1216."""
    boxes = Letterbox.fit(1600, 1216, s.HEIGHT, s.WIDTH).boxes_to_picture(s.BOXES).tolist()
    rows = [[*box, c, i] for box, c, i in zip(boxes, s.CONFIDENCES.tolist(), s.CLASSES.tolist(), strict=True)]
    wrong = [[row[0] + 5, *row[1:]] for row in rows]
    (tmp_path / "right.onnx").write_bytes(s.make_model({"output0": s.rows()}, metadata=s.METADATA))
    (tmp_path / "wrong.onnx").write_bytes(s.make_model({"output0": s.rows()}, metadata=s.METADATA))
    (tmp_path / "anonymous.onnx").write_bytes(s.make_model({"out": s.rows()}))
    models = [
        {"file": name, "reference": {"sample_1.jpg": reference}}
        for name, reference in (("right.onnx", rows), ("wrong.onnx", wrong), ("anonymous.onnx", rows))
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"models": models}))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["zoo", *map(str, arguments)])
    return zoo.main()


def test_it_prints_what_was_found_and_how_far_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder, "--json", folder / "table.json") == 1
    table = {row["file"]: row for row in json.loads((folder / "table.json").read_text())}
    assert float(table["right.onnx"]["difference"]) < 1
    assert (table["right.onnx"]["boxes"], table["right.onnx"]["wrong"]) == ("2 / 2", False)
    assert (float(table["wrong.onnx"]["difference"]), table["wrong.onnx"]["wrong"]) == (pytest.approx(5, abs=1), True)
    assert "`input`" in table["anonymous.onnx"]["recognised"]
    heading, _, *table_lines = capsys.readouterr().out.splitlines()
    assert (heading, len(table_lines)) == ("At a confidence of 0.25:", 5)


def test_settings_of_a_file_are_given_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "keys.json").write_text(json.dumps({"anonymous.onnx": {"input": {"colour": "rgb"}}}))
    assert run(monkeypatch, folder, "--settings", folder / "keys.json", "--only", "anonymous") == 0


def test_an_exporter_that_rounds_has_a_tolerance_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = json.loads((folder / "manifest.json").read_text())["models"]
    [wrong] = [model for model in models if model["file"] == "wrong.onnx"]
    for within, code in ((4.0, 1), (6.0, 0)):
        (folder / "manifest.json").write_text(json.dumps({"models": [{**wrong, "within_px": within}]}))
        assert run(monkeypatch, folder) == code


def test_a_file_that_finds_no_boxes_must_be_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [{"file": name, "refusal": True} for name in ("right.onnx", "anonymous.onnx")]
    (folder / "manifest.json").write_text(json.dumps({"models": models}))
    assert run(monkeypatch, folder, "--only", "anonymous") == 0
    assert run(monkeypatch, folder, "--only", "right") == 1


def test_a_file_without_low_boxes_is_left_out_of_the_low_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["models"][0]["reference_low"] = manifest["models"][0]["reference"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run(monkeypatch, folder, "--low", "--json", folder / "table.json") == 0
    assert [row["file"] for row in json.loads((folder / "table.json").read_text())] == ["right.onnx"]


def test_keypoints_are_compared_with_those_of_the_same_box(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pose.onnx").write_bytes(s.pose_model())
    box = Letterbox.fit(1600, 1216, s.HEIGHT, s.WIDTH)
    boxes = box.boxes_to_picture(s.BOXES).tolist()
    corner = np.concatenate([s.KEYPOINTS[:, :, :2]] * 2, axis=2).reshape(-1, 4)
    points = np.dstack([box.boxes_to_picture(corner)[:, :2].reshape(2, 3, 2), s.KEYPOINTS[:, :, 2]]).reshape(2, 9)
    rows = [
        [*one, c, i, *more]
        for one, c, i, more in zip(boxes, s.CONFIDENCES.tolist(), s.CLASSES.tolist(), points.tolist(), strict=True)
    ]
    wrong = [[*rows[0][:-2], rows[0][-2] + 9, rows[0][-1]], rows[1]]
    for reference, code in ((rows, 0), (wrong, 1)):
        models = [{"file": "pose.onnx", "reference": {"sample_1.jpg": reference}, "within_px": 1}]
        (folder / "manifest.json").write_text(json.dumps({"models": models}))
        assert run(monkeypatch, folder) == code


def test_a_box_without_a_partner_of_its_class_is_infinitely_far() -> None:
    box = np.array([[0, 0, 9, 9, 0.5, 1]], np.float64)
    assert zoo.largest_difference(box, box + np.array([0, 0, 0, 0, 0, 1])) == (np.inf, np.inf)
    assert zoo.largest_difference(box, box[:0]) == (np.inf, np.inf)
    assert zoo.largest_difference(box, box + np.array([1, 0, 0, 0, 0, 0])) == (1, 0)
    assert zoo.largest_difference(box, box + np.array([0, 0, 0, 0, 0.25, 0])) == (0, 0.25)
