"""`azaion eval`: a tiny model, with its own detections as labels; the demo model on a rendered scene."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from azaion_cli.exit_codes import ExitCode
from demo.training.labelled import write_labelled
from tests.azaion_cli.conftest import Ran, on_terminal
from tests.azaion_engine import signatures
from tests.azaion_engine.models import make_detector

Cli = Callable[..., Ran]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model that finds all three of its classes in the pictures below."""
    path = tmp_path / "tiny.onnx"
    path.write_bytes(make_detector(seed=13, k=20))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five pictures of smooth noise, without labels."""
    folder = tmp_path / "data/images"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(5):
        coarse = random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((96 + 8 * number, 80)).save(folder / f"{number}.png")
    return folder.parent


@pytest.fixture
def labelled(azaion: Cli, data: Path, tiny: Path) -> Path:
    """The same with what the model is surest of as labels: COCO annotations and, in another folder, YOLO labels."""
    annotations = data / "val.json"
    ran = azaion(
        "detect",
        data / "images",
        "--model",
        tiny,
        "--engine",
        "onnx",
        "-c",
        0.669,
        "--format",
        "coco",
        "--output",
        annotations,
    )
    assert ran.code == ExitCode.OK, ran.err
    document = json.loads(annotations.read_text())
    assert {one["category_id"] for one in document["annotations"]} == {0, 1, 2}, "no class goes untested"
    yolo = data.parent / "yolo"
    (yolo / "labels").mkdir(parents=True)
    (yolo / "images").symlink_to(data / "images")
    (yolo / "data.yaml").write_text("val: images\nnames: [car, person, tank]\n")
    for image in document["images"]:
        rows = []
        for one in document["annotations"]:
            if one["image_id"] == image["id"]:
                (x, y, w, h), (width, height) = one["bbox"], (image["width"], image["height"])
                shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
                rows.append(" ".join(map(str, (one["category_id"], *shares))))
        (yolo / "labels" / image["file_name"]).with_suffix(".txt").write_text("\n".join(rows))
    return data


def rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def test_a_models_own_detections_score_1_in_both_formats(azaion: Cli, labelled: Path, tiny: Path) -> None:
    for folder in (labelled, labelled.parent / "yolo"):
        ran = azaion("eval", tiny, "--engine", "onnx", "--data", folder, "--json", "-")
        assert (ran.code, ran.err) == (ExitCode.OK, "")
        result = ran.json
        assert result["map50"] == result["map50_95"] == result["map75"] == 1
        assert (result["pictures"], result["failed"], result["notes"]) == (5, [], [])
        assert sum(one["labels"] for one in result["classes"]) == result["labels"] > 5
        assert result["pictures_per_s"] == pytest.approx(5 / result["seconds"], rel=0.1)
        assert (result["engine"], result["input"], result["confidence"]) == ("onnxruntime-cpu", [64, 64], 0.001)


def test_missing_labels_lower_both_formats_alike_and_text_and_file_say_the_same(
    azaion: Cli, labelled: Path, tiny: Path, tmp_path: Path
) -> None:
    # Half of the boxes are now wrong, among them the surest one of every picture.
    def every_second(document: dict[str, Any]) -> None:
        of_image = [
            [one for one in document["annotations"] if one["image_id"] == image["id"]] for image in document["images"]
        ]
        document["annotations"] = [one for annotations in of_image for one in annotations[1::2]]

    rewrite(labelled / "val.json", every_second)
    for file in (labelled.parent / "yolo/labels").iterdir():
        file.write_text("\n".join(file.read_text().splitlines()[1::2]))
    coco, yolo = (
        azaion("eval", tiny, "--engine", "onnx", "--data", folder, "--json", tmp_path / "result.json")
        for folder in (labelled, labelled.parent / "yolo")
    )
    assert coco.code == yolo.code == ExitCode.OK
    result = json.loads((tmp_path / "result.json").read_text())
    assert 0.2 < result["map50_95"] < 0.9
    tables = [ran.out.partition("\n\n")[2] for ran in (coco, yolo)]
    assert tables[0] == tables[1]
    for key, name in (("map50_95", "mAP50-95"), ("map50", "mAP50"), ("map75", "mAP75")):
        assert f"{name:<8}  {result[key]:.4f}\n" in yolo.out
    car = result["classes"][0]
    [line] = [line for line in yolo.out.splitlines() if line.startswith("car")]
    assert line.split() == [
        "car",
        str(car["labels"]),
        str(car["pictures"]),
        f"{car['ap50']:.4f}",
        f"{car['ap50_95']:.4f}",
    ]


def test_pictures_that_fail_are_named_and_stop_nothing(azaion: Cli, labelled: Path, tiny: Path) -> None:
    (labelled / "images/1.png").write_bytes((labelled / "images/1.png").read_bytes()[:100])
    (labelled / "images/2.png").unlink()

    def other_size(document: dict[str, Any]) -> None:
        document["images"][3]["width"] = 1000

    rewrite(labelled / "val.json", other_size)
    ran = azaion("eval", tiny, "--engine", "onnx", "--data", labelled, "--json", "-")
    assert ran.code == ExitCode.PICTURES_FAILED
    errors = [json.loads(line)["error"] for line in ran.err.splitlines()]
    assert [error["message"].partition(":")[0] for error in errors] == ["1.png", "2.png", "3.png"]
    assert "no such file" in errors[1]["message"]
    assert "its labels are for 1000x80" in errors[2]["message"]
    result = ran.json
    assert (result["pictures"], result["map50"]) == (2, 1)
    assert [one["picture"] for one in result["failed"]] == ["1.png", "2.png", "3.png"]
    text = azaion("eval", tiny, "--engine", "onnx", "--data", labelled)
    assert "2 in " in text.out
    assert ", 3 failed" in text.out
    assert text.err.count("error: ") == 3


def test_exit_code_1_where_nothing_could_be_scored(azaion: Cli, labelled: Path, tiny: Path) -> None:
    for file in (labelled / "images").iterdir():
        file.write_bytes(b"broken")
    ran = azaion("eval", tiny, "--engine", "onnx", "--data", labelled)
    assert ran.code == ExitCode.PICTURES_FAILED
    assert "nothing could be scored" in ran.err.splitlines()[-1]
    assert "mAP50     -" in ran.out


def test_other_classes_are_an_error_whose_advice_works(azaion: Cli, labelled: Path, tiny: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["categories"][1]["name"] = "walker"

    rewrite(labelled / "val.json", rename)
    common = ("eval", tiny, "--engine", "onnx", "--data", labelled)
    ran = azaion(*common)
    assert (ran.code, ran.out, ran.err.count("\n")) == (ExitCode.USAGE, "", 1)
    for words in ("0 car, 1 walker, 2 tank", "0 car, 1 person, 2 tank", "--by-id", "--classes 'car,tank'"):
        assert words in ran.err
    by_id = azaion(*common, "--by-id", "--json", "-")
    assert (by_id.code, by_id.json["map50"]) == (ExitCode.OK, 1)
    assert by_id.json["notes"] == ["categories are numbered 0, 1, 2 … in the order of their ids"]
    assert by_id.err.startswith("note: categories are numbered")
    some = azaion(*common, "--classes", "car,tank", "--json", "-")
    assert [one["name"] for one in some.json["classes"]] == ["car", "tank"]


def test_the_result_replaces_an_earlier_one_and_no_input(azaion: Cli, labelled: Path, tiny: Path) -> None:
    result = labelled / "result.json"
    result.write_text("earlier")
    picture = next(path for path in labelled.rglob("*") if path.suffix in (".jpg", ".png"))
    for given, code in ((result, ExitCode.OK), (tiny, ExitCode.USAGE), (picture, ExitCode.USAGE)):
        before = given.read_bytes()
        ran = azaion("eval", tiny, "--engine", "onnx", "--data", labelled / "val.json", "--json", given)
        assert ran.code == code, ran.err
        assert (given.read_bytes() == before) == (code == ExitCode.USAGE)


def test_limit_confidence_and_max_detections_are_followed(azaion: Cli, labelled: Path, tiny: Path) -> None:
    common = ("eval", tiny, "--engine", "onnx", "--data", labelled, "--json", "-")
    whole = azaion(*common, "--limit", 2).json
    assert (whole["pictures"], whole["map50"]) == (2, 1)
    one_a_picture = azaion(*common, "--max-detections", 1).json
    assert one_a_picture["map50"] < 0.6
    assert (one_a_picture["max_detections"], one_a_picture["labels"]) == (1, azaion(*common).json["labels"])
    for given in (("--confidence", 1), ("--set", "confidence=1")):
        nothing_sure = azaion(*common, *given).json
        assert (nothing_sure["map50"], nothing_sure["confidence"]) == (0, 1)
    assert azaion(*common, "--set", "max_detections=1").json["map50"] == one_a_picture["map50"]


def test_runs_on_tensorrt_and_tells_its_precision(
    azaion: Cli, labelled: Path, tiny: Path, tmp_path: Path, h200: Any
) -> None:
    common = ("eval", tiny, "--engine", "tensorrt", "--data", labelled, "--set", f"cache_dir={tmp_path}")
    result = azaion(*common, "--set", "precision=fp32", "--json", "-").json
    assert (result["precision"], result["pictures"], result["map50"]) == ("fp32", 5, 1)
    assert f"{result['engine']} fp16, input 64x64" in azaion(*common).out


def test_a_raw_head_is_asked_for_as_many_boxes_as_count(azaion: Cli, data: Path, tmp_path: Path) -> None:
    """Suppression stops at the setting, which is 300 by default: more could not be counted."""
    raw, annotations = tmp_path / "raw.onnx", data / "a.json"
    raw.write_bytes(make_detector(seed=13, output="raw", height=192, width=192))
    common = ("--engine", "onnx", "--set", "nms_iou=1", "--set", "head=yolo")
    several = (*common, "--model", raw, "--set", "max_detections=500", "-c", 0.001)
    ran = azaion("detect", data / "images/0.png", *several, "--format", "coco", "--output", annotations)
    assert ran.code == ExitCode.OK, ran.err
    assert len(json.loads(annotations.read_text())["annotations"]) > 350
    few, many = (
        azaion("eval", raw, *common, "--data", data, "--json", "-", *given).json
        for given in ((), ("--max-detections", 500))
    )
    assert (few["max_detections"], many["max_detections"]) == (300, 500)
    assert few["map50"] < 0.9
    assert many["map50"] == 1


def test_wrong_data_is_wrong_usage_and_missing_pycocotools_names_the_extra(
    azaion: Cli, labelled: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("eval", tiny, "--engine", "onnx", "--data")
    assert "expected YOLO labels" in azaion(*common, tmp_path / "nothing").err
    assert azaion(*common, labelled, "--split", "test").code == ExitCode.USAGE
    assert azaion(*common, labelled, "--json", tmp_path / "no/such.json").code == ExitCode.USAGE
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    ran = azaion(*common, labelled)
    assert ran.code == ExitCode.ENVIRONMENT
    assert "pip install 'azaion-engine[eval]'" in ran.err


def test_a_bar_is_shown_on_a_terminal(labelled: Path, tiny: Path) -> None:
    command = [sys.executable, "-m", "azaion_cli", "eval", str(tiny), "--engine", "onnx", "--data", str(labelled)]
    process, out, shown = on_terminal(command, columns=100)
    assert process.returncode == ExitCode.OK
    assert b"mAP50-95  1.0000" in out
    assert b"5/5" in shown


def test_the_demo_model_finds_the_objects_of_a_scene(azaion: Cli, tmp_path: Path) -> None:
    write_labelled(tmp_path, scenes=1, size=640)
    for data in (tmp_path, tmp_path / "annotations/instances_val.json"):
        ran = azaion(
            "eval", "--data", data, "--engine", "onnx", "--set", "height=640", "--set", "width=640", "--json", "-"
        )
        assert ran.code == ExitCode.OK, ran.err
        assert ran.json["labels"] > 10
        assert ran.json["map50"] > 0.85
        assert ran.json["map50_95"] > 0.5


def test_of_oriented_boxes_the_upright_ones_around_them_are_scored_and_this_is_told(
    azaion: Cli, tmp_path: Path
) -> None:
    model, labels = tmp_path / "obb.onnx", tmp_path / "val.json"
    model.write_bytes(signatures.oriented_model())
    (tmp_path / "images").mkdir()
    Image.fromarray(signatures.picture()).save(tmp_path / "images/a.png")
    common = ("--engine", "onnx", "-c", 0.55)
    azaion("detect", tmp_path / "images", "--model", model, *common, "--format", "coco", "--output", labels)
    ran = azaion("eval", model, *common, "--data", labels, "--json", "-")
    assert (ran.code, ran.json["map50_95"]) == (ExitCode.OK, 1)
    assert any("oriented boxes: the upright boxes" in note for note in ran.json["notes"])
