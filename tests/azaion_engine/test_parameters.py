from __future__ import annotations

import pytest

from azaion_engine.errors import InvalidParameterError
from azaion_engine.parameters import check_confidence, check_suppression, class_ids

NAMES = {0: "Car", 2: "person"}


def test_numbers_in_range_and_none_are_taken() -> None:
    for confidence in (None, 0, 0.5, 1):
        check_confidence(confidence)
    for iou, most in ((None, None), (0, 1), (1, 30_000)):
        check_suppression(iou, most)


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_out_of_range_is_named(confidence: float) -> None:
    with pytest.raises(InvalidParameterError, match=f"confidence: expected 0 to 1, given {confidence}"):
        check_confidence(confidence)


@pytest.mark.parametrize(("iou", "most", "words"), [(1.5, None, "iou: .*1.5"), (None, 0, "max_detections: .*given 0")])
def test_a_number_of_suppression_out_of_range_is_named(iou: float | None, most: int | None, words: str) -> None:
    with pytest.raises(InvalidParameterError, match=words):
        check_suppression(iou, most)


def test_classes_are_ids_or_names_in_any_case() -> None:
    assert class_ids(["car", " 2 ", 0], NAMES) == {0, 2}
    assert class_ids([7], {}) == {7}
    assert class_ids("car", NAMES) == class_ids(["car"], NAMES)
    assert class_ids(2, NAMES) == {2}


@pytest.mark.parametrize("given", ["1", "unicorn", "9" * 5000])
def test_a_class_that_the_model_lacks_is_named_with_those_it_has(given: str) -> None:
    with pytest.raises(InvalidParameterError, match="0 Car, 2 person"):
        class_ids([given], NAMES)
