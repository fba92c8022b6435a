"""How the answers of a new version differ in kind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from azaion_engine.heads.base import Keypoints
from deployments.errors import VersionRefusedError
from deployments.versions.changes import changes_of


def detector(*names: str, oriented: bool = False, keypoints: Keypoints | None = None, size: int = 640) -> Any:
    choice = SimpleNamespace(head=SimpleNamespace(oriented=oriented, keypoints=keypoints))
    engine = SimpleNamespace(choice=choice, get_input_shape=lambda: (size, 640))
    return SimpleNamespace(names=dict(enumerate(names)), engine=engine)


def test_classes_that_are_gone_new_or_numbered_anew_are_told() -> None:
    assert changes_of(detector("car", "ship"), detector("car", "ship")) == ""
    assert changes_of(detector("car", "ship"), detector("ship", "plane")) == (
        "classes that are gone: car; new classes: plane; other class ids: ship is 0, not 1"
    )
    many = [f"class {number}" for number in range(8)]
    assert changes_of(detector(), detector(*many)).endswith("class 3, class 4 and 3 more")


def test_another_size_of_the_input_is_told_as_clients_that_send_its_tensors_must_know_it() -> None:
    told = changes_of(detector("car"), detector("car", size=320))
    assert told == "another input for raw tensors: 320x640, not 640x640"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (detector(), detector(oriented=True), "it finds oriented boxes, and the serving version plain boxes"),
        (detector(oriented=True), detector(), "it finds plain boxes, and the serving version oriented boxes"),
        (detector(), detector(keypoints=Keypoints(17, 3)), "it finds boxes with 17 keypoints"),
    ],
)
def test_boxes_of_another_kind_are_refused(before: Any, after: Any, words: str) -> None:
    with pytest.raises(VersionRefusedError, match=words):
        changes_of(before, after)
