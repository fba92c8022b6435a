"""COCO annotations: ids, sizes, crowds, where the pictures are, and what is wrong with a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.evaluation import coco
from azaion_engine.evaluation.reader import read_data_set
from tests.azaion_engine.evaluation.data_sets import coco_document, write_coco, write_picture

CAR, TRUCK, CROWD = (0, 10, 20, 50, 60), (1, 0, 0, 200, 100), (0, 100, 0, 200, 50, 1)
NAMES = {0: "car", 1: "truck"}


def test_categories_are_numbered_in_the_order_of_their_ids_and_boxes_are_pixels(tmp_path: Path) -> None:
    document = coco_document({"a.png": [CAR, TRUCK, CROWD], "b.png": []}, categories=[90, 3])
    data = read_data_set(write_coco(tmp_path, document))
    first, second = data.pictures
    assert data.names == {0: "truck", 1: "car"}
    assert first.labels.class_ids.tolist() == [1, 0, 1]
    assert first.labels.crowd.tolist() == [False, False, True]
    assert first.labels.in_pixels(200, 100) == pytest.approx(np.array([CAR[1:], TRUCK[1:], CROWD[1:5]]))
    assert first.load() == tmp_path / "images/a.png"
    assert len(second.labels.boxes) == 0
    told = "\n".join(data.notes)
    assert "1 picture without annotations" in told
    assert "1 crowd (iscrowd)" in told


def test_categories_without_any_annotation_are_known_as_such(tmp_path: Path) -> None:
    data = read_data_set(write_coco(tmp_path, coco_document({"a.png": [TRUCK], "b.png": []})), limit=1)
    assert (data.unlabelled, len(data.pictures)) == (frozenset({0}), 1)


@pytest.mark.parametrize(
    ("file", "pictures"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
        ("annotations/val.json", "images"),
        ("valid/_annotations.coco.json", "valid"),
        ("result.json", "."),
    ],
)
@pytest.mark.parametrize("named", ["folder", "file"])
def test_pictures_are_found_beside_their_annotations(tmp_path: Path, file: str, pictures: str, named: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(coco_document({"a.png": [CAR]})))
    write_picture(tmp_path / pictures / "a.png")
    data = read_data_set(tmp_path if named == "folder" else tmp_path / file)
    assert [picture.load() for picture in data.pictures] == [tmp_path / pictures / "a.png"]


def test_pictures_elsewhere_are_named_with_an_argument_and_absolute_names_are_followed(tmp_path: Path) -> None:
    file = write_coco(tmp_path / "labels", coco_document({"a.png": [CAR]}))
    (tmp_path / "labels/images").rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidParameterError, match=r"such as 'a\.png', are not in .*--pictures"):
        read_data_set(file)
    found = read_data_set(file, pictures=tmp_path / "elsewhere").pictures[0]
    assert found.load() == tmp_path / "elsewhere/a.png"
    document = coco_document({str(tmp_path / "elsewhere/a.png"): [CAR]})
    file.write_text(json.dumps(document))
    assert read_data_set(file).pictures[0].load() == tmp_path / "elsewhere/a.png"


def test_the_split_chooses_among_several_files_and_boxes_go_before_captions(tmp_path: Path) -> None:
    for name in ("instances_train", "instances_val", "captions_val"):
        write_coco(tmp_path, coco_document({f"{name}.png": [CAR]}), f"annotations/{name}.json")

    def first(**options: Any) -> str:
        return read_data_set(tmp_path, **options).pictures[0].name

    assert first() == first(split="val") == "instances_val.png"
    assert first(split="train") == "instances_train.png"
    with pytest.raises(InvalidParameterError, match=r"no annotations of split 'test'; there are: captions_val\.json"):
        first(split="test")
    (tmp_path / "annotations/instances_val.json").rename(tmp_path / "annotations/instances_val_2.json")
    (tmp_path / "annotations/instances_train.json").rename(tmp_path / "annotations/instances_val_1.json")
    with pytest.raises(InvalidParameterError, match="several annotations files"):
        first()
    with pytest.raises(InvalidParameterError, match="a COCO file is one part"):
        read_data_set(tmp_path / "annotations/instances_val_1.json", split="val")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bbox": [1, 2, 3]}, r"annotation 0: bbox: expected \[x, y, width, height\]"),
        ({"bbox": [1, 2, float("inf"), 3]}, "annotation 0: bbox"),
        ({"bbox": None}, "annotation 0: bbox"),
        ({"category_id": 99}, "category_id 99 is not among the categories"),
        ({"category_id": "1"}, "category_id '1' is not among"),
    ],
)
def test_a_bad_annotation_fails_its_picture_alone(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    document = coco_document({"a.png": [CAR], "b.png": [CAR]})
    document["annotations"][0] |= change
    bad, good = read_data_set(write_coco(tmp_path, document)).pictures
    with pytest.raises(PictureError, match=words):
        bad.load()
    assert good.load().name == "b.png"


def test_a_missing_picture_fails_alone_and_flat_boxes_and_strays_are_told(tmp_path: Path) -> None:
    document = coco_document({"a.png": [CAR, (1, 5, 5, 5, 9)], "b.png": [CAR]})
    document["annotations"][2]["image_id"] = 77
    file = write_coco(tmp_path, document)
    (tmp_path / "images/b.png").unlink()
    data = read_data_set(file)
    with pytest.raises(PictureError, match=r"no such file: .*b\.png"):
        data.pictures[1].load()
    told = "\n".join(data.notes)
    assert "1 box without area left out" in told
    assert "1 annotation of pictures that are not listed left out" in told


def broken(**parts: Any) -> dict[str, Any]:
    return {**coco_document({"a.png": [CAR]}), **parts}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "`images`, `annotations` and `categories`; 'images' is missing"),
        (broken(annotations=None), "'annotations' is missing"),
        (broken(categories=[3]), "'categories' is something else"),
        (broken(images=[]), "no pictures"),
        (broken(categories=[]), "no categories"),
        (broken(categories=[{"id": 1}]), r"categories\[0\]: expected a whole id and a name"),
        (broken(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "category 1 is named twice"),
        (broken(images=[{"id": 1, "file_name": "a.png"}] * 2), "two images have the same id"),
        (broken(images=[{"file_name": "a.png"}]), r"images\[0\]: id: expected"),
        (broken(images=[{"id": 1}]), r"images\[0\]: expected a file_name"),
        (broken(annotations=[{"bbox": [0, 0, 1, 1]}]), r"annotations\[0\]: image_id: expected"),
    ],
)
def test_what_is_wrong_with_a_document_is_told(tmp_path: Path, document: Any, words: str) -> None:
    file = tmp_path / "val.json"
    write_picture(tmp_path / "a.png")
    file.write_text(json.dumps(document))
    with pytest.raises(InvalidParameterError, match=words):
        read_data_set(file)


def test_a_document_beyond_the_limit_or_not_json_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_coco(tmp_path, coco_document({"a.png": [CAR]}))
    monkeypatch.setattr(coco, "MAX_BYTES", 100)
    with pytest.raises(InvalidParameterError, match="larger than"):
        read_data_set(file)
    file.write_text("{")
    with pytest.raises(InvalidParameterError, match="not JSON"):
        read_data_set(file)


def test_a_folder_of_something_else_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    for given in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InvalidParameterError, match=r"expected YOLO labels .* or COCO annotations"):
            read_data_set(given)
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(InvalidParameterError, match="expected YOLO labels"):
        read_data_set(tmp_path / "notes.md")
