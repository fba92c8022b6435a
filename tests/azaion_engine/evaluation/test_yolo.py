"""YOLO labels: rows of every kind, layouts of folders, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.evaluation import yolo
from azaion_engine.evaluation.data_set import DataSet
from azaion_engine.evaluation.reader import read_data_set
from azaion_engine.evaluation.yolo_rows import parse_rows
from tests.azaion_engine.evaluation.data_sets import HEIGHT, NAMES, WIDTH, write_picture, write_yolo

CAR, TRUCK = (0, 10, 20, 50, 60), (1, 0, 0, 200, 100)


def names_of(data: DataSet) -> list[str]:
    return [picture.name for picture in data.pictures]


def test_boxes_are_shares_of_the_picture(tmp_path: Path) -> None:
    data = read_data_set(write_yolo(tmp_path, {"a.png": [CAR, TRUCK], "b.jpg": ""}))
    first, second = data.pictures
    assert (first.name, first.load()) == ("images/val/a.png", tmp_path / "images/val/a.png")
    assert first.labels.in_pixels(WIDTH, HEIGHT) == pytest.approx(np.array([CAR[1:], TRUCK[1:]]))
    assert first.labels.in_pixels(2 * WIDTH, HEIGHT)[0] == pytest.approx([20, 20, 100, 60])
    assert first.labels.class_ids.tolist() == [0, 1]
    assert len(second.labels.boxes) == 0
    assert (data.names, data.format, data.split, list(data.notes)) == (NAMES, "YOLO", "val", [])


def test_polygons_oriented_boxes_and_keypoints_become_upright_boxes_and_this_is_told(tmp_path: Path) -> None:
    polygon = "0 0.1 0.5 0.2 0.1 0.4 0.3\n"
    oriented = "1 0.5 0.2 0.7 0.4 0.5 0.6 0.3 0.4\n"
    data = read_data_set(write_yolo(tmp_path, {"a.png": polygon + oriented + "0 0.5 0.5 0.2 0.2\n", "b.png": None}))
    boxes = data.pictures[0].labels.boxes
    assert boxes == pytest.approx(np.array([[0.1, 0.1, 0.4, 0.5], [0.3, 0.2, 0.7, 0.6], [0.4, 0.4, 0.6, 0.6]]))
    told = "\n".join(data.notes)
    for words in ("1 polygon of", "1 row of 9 columns", "1 picture without a labels file"):
        assert words in told
    # Three keypoints of x, y: the same 11 columns as a polygon of five points, told apart by kpt_shape.
    keypoints = write_yolo(tmp_path / "pose", {"a.png": "0 0.5 0.5 0.2 0.2 0.9 0.9 0.8 0.8 0.7 0.7\n"})
    keypoints.write_text(keypoints.read_text() + "kpt_shape: [3, 2]\n")
    data = read_data_set(keypoints)
    assert data.pictures[0].labels.boxes == pytest.approx(np.array([[0.4, 0.4, 0.6, 0.6]]))
    assert list(data.notes) == ["1 row with keypoints: their boxes alone are used"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0 0.5 0.5 0.1", "expected 5 columns .* given 4"),
        ("0 0.5 0.5 0.1 0.1 0.93", "given 6; a sixth column is the confidence"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "given 8"),
        ("car 0.5 0.5 0.1 0.1", "expected numbers, given 'car 0.5 0.5 0.1 0.1'"),
        ("0 320 240 64 64", "shares of the picture's sides, 0 to 1, given 320"),
        ("0 nan 0.5 0.1 0.1", "given nan"),
        ("0.5 0.5 0.5 0.1 0.1", "a whole number from 0 on, given 0.5"),
        ("-1 0.5 0.5 0.1 0.1", "given -1"),
        ("inf 0.5 0.5 0.1 0.1", "given inf"),
        ("7 0.5 0.5 0.1 0.1", "class 7 has no name"),
    ],
)
def test_a_bad_row_fails_its_picture_alone_and_is_named(tmp_path: Path, row: str, words: str) -> None:
    data = read_data_set(write_yolo(tmp_path, {"a.png": "0 0.5 0.5 0.1 0.1\n" + row, "b.png": [CAR]}))
    bad, good = data.pictures
    with pytest.raises(PictureError, match=rf"a\.txt, line 2: .*{words}"):
        bad.load()
    assert good.load().name == "b.png"


def test_boxes_without_area_are_left_out_and_told() -> None:
    labels, kinds = parse_rows("0 0.5 0.5 0 0.1\n\n 0 0.5 0.5 0.1 0.1 \n", "a.txt")
    assert (len(labels.boxes), kinds["no area"]) == (1, 1)


def test_a_labels_file_beyond_the_limit_or_not_text_fails_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_yolo(tmp_path, {"a.png": "0 0.5 0.5 0.1 0.1\n" * 100, "b.png": "", "c.png": [CAR]})
    (tmp_path / "labels/val/b.txt").write_bytes(b"0 0.5\n\xff\xfe")
    monkeypatch.setattr(yolo, "MAX_LABELS_BYTES", 1000)
    large, binary, good = read_data_set(tmp_path).pictures
    assert "larger than" in str(large.error)
    assert "b.txt, line 2: not UTF-8" in str(binary.error)
    assert good.error is None


def test_no_labels_file_at_all_is_an_error_that_names_the_first(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a.png": None, "b.png": None})
    with pytest.raises(InvalidParameterError, match=r"none of 2 pictures has a labels file; .*/labels/val/a\.txt"):
        read_data_set(tmp_path)


def test_splits_of_a_description(tmp_path: Path) -> None:
    """Lists, lists of folders, absolute paths, Roboflow's `../valid/images`."""
    root = tmp_path / "data"
    for name in ("train/images/t.png", "valid/images/v.png", "more/images/m.png"):
        write_picture(root / name)
        labels = (root / name.replace("images", "labels")).with_suffix(".txt")
        labels.parent.mkdir(parents=True)
        labels.write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "listed.txt").write_text(f"./more/images/m.png\n{root / 'train/images/t.png'}\n")
    file = root / "data.yaml"
    file.write_text("train: ../train/images\nval: ../valid/images\ntest: listed.txt\nnames: [car]\n")
    assert names_of(read_data_set(root)) == ["valid/images/v.png"]
    assert names_of(read_data_set(file, split="train")) == ["train/images/t.png"]
    assert names_of(read_data_set(file, split="test")) == ["more/images/m.png", "train/images/t.png"]
    assert read_data_set(file, split="test").labelled_classes() == {0}
    file.write_text(f"path: {root}\nval: [valid/images, {root}/more/images]\nnames: [car]\n")
    assert names_of(read_data_set(file)) == ["valid/images/v.png", "more/images/m.png"]
    assert names_of(read_data_set(file, limit=1)) == ["valid/images/v.png"]
    with pytest.raises(InvalidParameterError, match="no split 'test'; it has: val"):
        read_data_set(file, split="test")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("val: [", "not YAML"),
        ("- a", "expected `names:` and `val:`, given list"),
        ("path: nowhere\nval: images/val\nnames: [a, b]", "path: no such folder: .*nowhere"),
        ("path: 3\nval: images/val\nnames: [a, b]", "path: expected a folder, given 3"),
        ("val: 3\nnames: [a, b]", "val: expected a path"),
        ("val: images/none\nnames: [a, b]", "no folder of pictures and no list .*images/none"),
        ("val: labels/val\nnames: [a, b]", "no pictures in split 'val'"),
        ("val: images/val\nnames: {a: b}", "a class id is a whole number"),
        ("val: images/val\nnames: [a, b]\nkpt_shape: 3", "kpt_shape: expected"),
    ],
)
def test_what_is_wrong_with_a_description_is_told(tmp_path: Path, text: str, words: str) -> None:
    file = write_yolo(tmp_path, {"a.png": [CAR]})
    file.write_text(text)
    with pytest.raises(InvalidParameterError, match=words):
        read_data_set(file)


@pytest.mark.parametrize(
    ("picture", "labels", "split"),
    [
        ("images/a.png", "labels/a.txt", ""),
        ("images/val/a.png", "labels/val/a.txt", "val"),
        ("valid/images/a.png", "valid/labels/a.txt", "valid"),
        ("a.png", "a.txt", ""),
    ],
)
def test_folders_without_a_description(tmp_path: Path, picture: str, labels: str, split: str) -> None:
    write_picture(tmp_path / picture)
    (tmp_path / labels).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / labels).write_text("3 0.5 0.5 0.1 0.1\n")
    data = read_data_set(tmp_path)
    assert (names_of(data), data.split, data.names) == ([picture], split, {})
    assert data.labelled_classes() == {3}
    with pytest.raises(InvalidParameterError, match="test"):
        read_data_set(tmp_path, split="test")


def test_classes_txt_names_the_classes(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    (tmp_path / "classes.txt").write_text("car\ntruck\n")
    assert read_data_set(tmp_path).names == {0: "car", 1: "truck"}
