"""Scorer: average precision computed by hand, and by pycocotools used in the plain way."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from azaion_engine.errors import MissingDependencyError, PictureError
from azaion_engine.evaluation.classes import ClassMatch
from azaion_engine.evaluation.data_set import LabelledPicture, Labels
from azaion_engine.evaluation.reader import read_data_set
from azaion_engine.evaluation.score import Score, Scorer
from azaion_engine.results.detections import Detections
from tests.azaion_engine.evaluation.data_sets import (
    HEIGHT,
    NAMES,
    WIDTH,
    coco_document,
    found,
    write_coco,
    write_yolo,
)

CLASSES = ClassMatch({0: 0, 1: 1}, NAMES)
ALL = pytest.approx(1, abs=1e-9)
"""pycocotools adds 2e-16 to a denominator."""
CAR, SECOND = (0, 10, 10, 50, 50), (0, 100, 10, 140, 50)
ELSEWHERE = (0, 150, 60, 190, 95)


def labelled(*rows: tuple[float, ...]) -> LabelledPicture:
    table = np.array([(*row, 0)[:6] for row in rows], np.float64).reshape(-1, 6)
    labels = Labels(table[:, 1:5], table[:, 0].astype(np.int64), table[:, 5].astype(bool), size=(WIDTH, HEIGHT))
    return LabelledPicture("a.png", Path("a.png"), labels)


def score(*pictures: tuple[LabelledPicture, Detections], classes: ClassMatch = CLASSES, **options: int) -> Score:
    scorer = Scorer(classes, **options)
    for picture, detections in pictures:
        scorer.add(picture, detections)
    return scorer.score()


def test_everything_found_and_nothing_else_is_1() -> None:
    made = score((labelled(CAR, SECOND), found((*CAR, 0.9), (*SECOND, 0.3))))
    assert (made.map50_95, made.map50, made.map75) == (ALL, ALL, ALL)
    car, truck = made.classes
    assert (car.name, car.labels, car.pictures, car.ap50_95) == ("car", 2, 1, ALL)
    assert (truck.name, truck.labels, truck.ap50_95, truck.ap50) == ("truck", 0, None, None), "not in the mean"


def test_a_wrong_box_ranked_first_lowers_the_precision_at_every_recall() -> None:
    # Precision 0, 1/2, 2/3 at ranks 1, 2, 3; the curve takes the best precision at each recall or beyond: 2/3.
    made = score((labelled(CAR, SECOND), found((*ELSEWHERE, 0.9), (*CAR, 0.8), (*SECOND, 0.7))))
    assert made.map50_95 == pytest.approx(2 / 3, abs=1e-9)
    # Ranked last it costs nothing.
    assert score((labelled(CAR, SECOND), found((*ELSEWHERE, 0.1), (*CAR, 0.8), (*SECOND, 0.7)))).map50_95 == ALL


def test_a_missed_object_leaves_the_recalls_up_to_the_half() -> None:
    # Precision 1 at the 51 recalls 0.00 to 0.50 of 101, 0 at the others.
    made = score((labelled(CAR, SECOND), found((*CAR, 0.9))))
    assert made.map50 == pytest.approx(51 / 101, abs=1e-9)


def test_a_shifted_box_counts_up_to_its_iou() -> None:
    # 40x40 shifted by 6 pixels: IoU 34/46 = 0.739, above 0.50, 0.55, 0.60, 0.65 and 0.70.
    made = score((labelled(CAR), found((0, 16, 10, 56, 50, 0.9))))
    assert (made.map50, made.map75) == (ALL, 0)
    assert made.map50_95 == pytest.approx(0.5)


def test_the_second_box_on_one_object_is_wrong() -> None:
    # Ranks: right, wrong, right; recalls 0.5, 0.5, 1: precision 1 at 51 recalls, 2/3 at 50.
    made = score((labelled(CAR, SECOND), found((*CAR, 0.9), (*CAR, 0.8), (*SECOND, 0.7))))
    assert made.map50 == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-9)


def test_what_is_found_in_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = (0, 100, 0, 200, 100, 1)
    boxes = found((*ELSEWHERE, 0.9), (*CAR, 0.8))
    made = score((labelled(CAR, crowd), boxes))
    assert (made.map50_95, made.labels) == (ALL, 1), "the crowd is no label to be found"
    assert score((labelled(CAR), boxes)).map50_95 == pytest.approx(0.5)


def test_boxes_on_a_picture_without_objects_are_wrong() -> None:
    made = score((labelled(), found((*CAR, 0.9))), (labelled(CAR), found((*CAR, 0.8))))
    assert made.map50 == pytest.approx(0.5)
    assert (made.pictures, made.classes[0].pictures) == (2, 1)


def test_only_the_most_confident_boxes_of_a_picture_count_whatever_their_class() -> None:
    truck = (1, 100, 10, 140, 50)
    pictures = (labelled(CAR, truck), found((*CAR, 0.9), (*truck, 0.8)))
    assert score(pictures, max_detections=2).map50 == ALL
    assert score(pictures, max_detections=1).map50 == pytest.approx(0.5)
    # 150 boxes: beyond the 100 of COCOeval.summarize.
    many = [(0, x, y, x + 10, y + 8) for x in range(0, 190, 12) for y in range(0, 90, 9)][:150]
    whole = (labelled(*many), found(*((*box, 0.9 - i / 1000) for i, box in enumerate(many))))
    assert score(whole).map50 == ALL
    assert score(whole, max_detections=100).map50 == pytest.approx(67 / 101, abs=1e-9), "recalls 0.00 to 0.66"


def test_classes_are_those_of_the_model_and_others_are_left_out() -> None:
    truck = (1, 100, 10, 140, 50)
    swapped = ClassMatch({0: 1, 1: 0}, {0: "truck", 1: "car"})
    made = score((labelled(CAR, truck), found((1, *CAR[1:], 0.9), (0, *truck[1:], 0.8))), classes=swapped)
    assert made.map50_95 == ALL
    assert [(one.class_id, one.name, one.labels) for one in made.classes] == [(0, "truck", 1), (1, "car", 1)]
    cars = score(
        (labelled(CAR, truck), found((1, *ELSEWHERE[1:], 0.9), (*CAR, 0.8))), classes=ClassMatch({0: 0}, NAMES)
    )
    assert (cars.map50_95, cars.labels, len(cars.classes)) == (ALL, 1, 1)


def test_labels_of_a_picture_of_another_size_are_refused_and_nothing_is_added() -> None:
    scorer = Scorer(CLASSES)
    with pytest.raises(PictureError, match="100x200 pixels when upright, its labels are for 200x100"):
        scorer.add(labelled(CAR), found((*CAR, 0.9), width=HEIGHT, height=WIDTH))
    assert scorer.score().pictures == 0
    assert scorer.score().map50 is None


def test_yolo_and_coco_labels_give_the_same_figure(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    truth = {f"{i}.png": random_boxes(random) for i in range(5)}
    yolo = read_data_set(write_yolo(tmp_path / "yolo", truth))
    coco = read_data_set(write_coco(tmp_path / "coco", coco_document(truth, categories=[7, 90])))
    detections = [near(random, boxes) for boxes in truth.values()]
    ours, theirs = (score(*zip(data.pictures, detections, strict=True)) for data in (yolo, coco))
    assert ours == theirs
    assert ours.map50_95 is not None
    assert 0.2 < ours.map50_95 < 0.9


def test_agrees_with_all_classes_at_once_as_pycocotools_is_commonly_used(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(5)
    truth = {f"{i}.png": [(*box, int(random.random() < 0.1)) for box in random_boxes(random)] for i in range(8)}
    detections = [near(random, boxes) for boxes in truth.values()]
    made = score(*zip((labelled(*boxes) for boxes in truth.values()), detections, strict=True))
    assert capsys.readouterr() == ("", ""), "pycocotools prints"

    document = coco_document(truth)
    for number, annotation in enumerate(document["annotations"], 1):
        annotation |= {"id": number, "area": annotation["bbox"][2] * annotation["bbox"][3]}
    results = [
        {"image_id": 10 + i, "category_id": box.class_id + 1, "score": box.confidence}
        | {"bbox": [box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1]}
        for i, boxes in enumerate(detections)
        for box in boxes
    ]
    with redirect_stdout(io.StringIO()):
        whole = COCO()
        whole.dataset = document
        whole.createIndex()
        evaluation = COCOeval(whole, whole.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    for value, entries in ((made.map50_95, precision), (made.map50, precision[0]), (made.map75, precision[5])):
        assert value == pytest.approx(entries[entries > -1].mean(), abs=1e-12)


def test_without_pycocotools_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'azaion-engine\[eval\]'"):
        Scorer(CLASSES)


def random_boxes(random: np.random.Generator) -> list[tuple[float, ...]]:
    """Returns boxes of whole pixels."""
    corners = [(random.integers(0, 150), random.integers(0, 60)) for _ in range(12)]
    sides = random.integers(10, 40, (12, 2))
    return [
        (int(random.integers(0, 2)), int(x), int(y), int(x + w), int(y + h))
        for (x, y), (w, h) in zip(corners, sides, strict=True)
    ]


def near(random: np.random.Generator, boxes: list[tuple[float, ...]]) -> Detections:
    """Returns detections: three quarters of the boxes, shifted a little, and some that are wrong."""
    rows = [
        (box[0], *(np.array(box[1:5]) + random.integers(-3, 4, 4) / 2), float(random.uniform(0.3, 1)))
        for box in boxes
        if random.random() < 0.75
    ]
    rows += [(*box, float(random.uniform(0, 0.7))) for box in random_boxes(random)[:5]]
    return found(*rows)
