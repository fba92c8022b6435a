from __future__ import annotations

import json

import pytest

from azaion_cli.tuning.answers import Answers


def box(x=10.0, confidence=0.9, class_id=0):
    return {"x1": x, "y1": 20.0, "x2": x + 30, "y2": 60.0, "confidence": confidence, "class_id": class_id}


def answer(*boxes, total=1.0):
    picture = {"width": 1000, "height": 800}
    return json.dumps({"picture": picture, "boxes": list(boxes), "timing_ms": {"total": total}}).encode()


FIRST = answer(box(), box(200.0, 0.5), box(400.0, 0.251))


@pytest.mark.parametrize(
    "other",
    [
        answer(box(), box(200.0, 0.5), box(400.0, 0.251), total=2.0),
        answer(box(200.0, 0.5), box(), box(400.0, 0.251)),
        answer(box(11.5), box(200.0, 0.5), box(400.0, 0.251)),
        answer(box(), box(200.0, 0.5)),
        answer(box(), box(200.0, 0.5), box(600.0, 0.252)),
    ],
    ids=["other times", "other order", "last bits", "one at the threshold is gone", "another came"],
)
def test_right_answers(other):
    answers = Answers(FIRST, 0.25)
    assert answers.fault(other) == answers.fault(other) == ""


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (answer(box(), box(400.0, 0.251)), "2 boxes instead of 3, missing"),
        (answer(box(), box(200.0, 0.5), box(400.0, 0.251), box(700.0)), "4 boxes instead of 3, unexpected"),
        (answer(box(13.0), box(200.0, 0.5), box(400.0, 0.251)), "missing"),
        (answer(box(class_id=1), box(200.0, 0.5), box(400.0, 0.251)), "missing"),
        (answer(box(), box(), box(400.0, 0.251)), "missing"),
        (b"<html>", "not JSON"),
        (b"{}", "no boxes"),
    ],
    ids=["missing", "too many", "moved", "other class", "one twice", "no JSON", "no boxes"],
)
def test_wrong_answers(other, words):
    assert words in Answers(FIRST, 0.25).fault(other)


def test_a_picture_without_objects_has_right_answers_too():
    assert Answers(answer()).fault(answer()) == ""
    assert "unexpected" in Answers(answer()).fault(answer(box()))


def test_a_first_answer_without_boxes_is_an_error():
    with pytest.raises(ValueError, match="no boxes"):
        Answers(b'{"error": {}}')
