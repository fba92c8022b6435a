"""match_classes: by name, by id, and the errors that show both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from azaion_engine.errors import InvalidParameterError
from azaion_engine.evaluation.classes import match_classes
from azaion_engine.evaluation.data_set import DataSet, LabelledPicture, Labels

MODEL = {0: "car", 1: "truck"}


def data_set(names: dict[int, str], labelled: tuple[int, ...] = (), **options: Any) -> DataSet:
    ids = np.array(labelled, np.int64)
    labels = Labels(np.tile([0.0, 0, 1, 1], (len(ids), 1)), ids, np.zeros(len(ids), bool))
    return DataSet(
        Path("data"), options.pop("format", "YOLO"), "", [LabelledPicture("a", Path("a"), labels)], names, **options
    )


def test_equal_names_match_whatever_their_case_and_order() -> None:
    plain = match_classes(data_set({0: "car", 1: "Truck"}), MODEL)
    assert (plain.model_ids, plain.names, plain.notes) == ({0: 0, 1: 1}, MODEL, ())
    other = match_classes(data_set({0: "truck", 1: "car"}), MODEL)
    assert other.model_ids == {0: 1, 1: 0}
    assert "matched by name" in other.notes[0]


@pytest.mark.parametrize("names", [{0: "car", 1: "lorry"}, {0: "car"}, {0: "car", 1: "truck", 2: "bus"}])
def test_other_names_or_another_number_are_an_error_that_shows_both(names: dict[int, str]) -> None:
    with pytest.raises(
        InvalidParameterError, match=r"differ: the data set has 0 car.*the model has 0 car, 1 truck"
    ) as caught:
        match_classes(data_set(names), MODEL)
    assert "--by-id" in str(caught.value)
    assert "--classes 'car" in str(caught.value)


def test_both_pieces_of_the_errors_advice_work() -> None:
    lorry = data_set({0: "car", 1: "lorry"}, (0, 1))
    assert match_classes(lorry, MODEL, by_id=True).model_ids == {0: 0, 1: 1}
    assert match_classes(lorry, MODEL, by_id=True).names == MODEL
    car = match_classes(lorry, MODEL, only={0})
    assert (car.model_ids, car.names) == ({0: 0}, {0: "car"})
    with pytest.raises(InvalidParameterError, match="the data set has no class 1 truck; it has 0 car, 1 lorry"):
        match_classes(lorry, MODEL, only={0, 1})


def test_a_category_without_labels_may_be_missing_in_the_model() -> None:
    """Roboflow's exports begin with a category that no annotation has."""
    names = {0: "vehicles", 1: "car", 2: "truck"}
    matched = match_classes(data_set(names, unlabelled=frozenset({0})), MODEL)
    assert matched.model_ids == {1: 0, 2: 1}
    with pytest.raises(InvalidParameterError, match="only the data set has vehicles, only the model none"):
        match_classes(data_set(names), MODEL)


def test_without_names_ids_are_compared_and_this_is_told() -> None:
    unnamed = match_classes(data_set({}, (1,)), MODEL)
    assert (unnamed.model_ids, unnamed.names) == ({1: 1}, {1: "truck"})
    assert unnamed.notes == ("the data set names no classes: ids are compared",)
    coco = match_classes(data_set({0: "a", 1: "b"}, format="COCO"), {})
    assert (coco.model_ids, coco.names) == ({0: 0, 1: 1}, {0: "a", 1: "b"})
    assert coco.notes[0] == "the model names no classes: ids are compared"
    assert "in the order of their ids" in coco.notes[1]


def test_labels_of_a_class_that_the_model_does_not_have_are_an_error_by_id_too() -> None:
    with pytest.raises(InvalidParameterError, match="labels of class 5, which the model does not have: it has 0 car"):
        match_classes(data_set({}, (0, 5)), MODEL)
    with pytest.raises(InvalidParameterError, match="labels of class 2"):
        match_classes(data_set({0: "a", 1: "b", 2: "c"}, (2,)), MODEL, by_id=True)
    assert match_classes(data_set({0: "a", 1: "b", 2: "c"}, (1,)), MODEL, by_id=True).model_ids == {0: 0, 1: 1}


def test_a_name_given_twice_cannot_be_compared() -> None:
    with pytest.raises(InvalidParameterError, match=r"the model has two classes named 'car': .*--by-id"):
        match_classes(data_set(MODEL), {0: "car", 1: "Car"})


def test_long_lists_are_cut() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        match_classes(data_set({i: f"other{i}" for i in range(80)}), {i: f"class{i}" for i in range(80)})
    assert "… (80)" in str(caught.value)
    assert len(str(caught.value)) < 1500
