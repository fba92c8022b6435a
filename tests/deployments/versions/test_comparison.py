"""Comparison of two versions' boxes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.results.detections import Detections
from deployments.errors import VersionRefusedError
from deployments.versions.comparison import compare, try_out
from deployments.versions.version import Trial
from deployments.watching.recent import RecentPictures


class Finder:
    """Stands in for a detector: finds the same boxes in every picture."""

    def __init__(self, *boxes: tuple[float, float, float, float, int], names: dict[int, str] | None = None) -> None:
        rows = np.array([[*box[:4], 0.9, box[4]] for box in boxes], np.float32).reshape(-1, 6)
        self._found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), 100, 100, names or {})

    def detect(self, pictures: list[bytes]) -> list[Detections]:
        if pictures == [b"broken"]:
            raise UndecodablePictureError("it is damaged")
        return [self._found]


def compared(before: Finder, after: Finder, pictures: tuple[bytes, ...] = (b"a",)) -> Any:
    return compare(before, after, pictures)  # type: ignore[arg-type]


def test_boxes_of_one_class_that_overlap_by_half_are_the_same_object() -> None:
    before = Finder((0, 0, 10, 10, 0), (50, 50, 60, 60, 0), (80, 80, 90, 90, 1))
    after = Finder((0, 0, 10, 8, 0), (50, 50, 60, 54, 0), (80, 80, 90, 90, 2))
    found = compared(before, after)
    assert (found.pictures, found.before, found.after, found.matched) == (1, 3, 3, 1)
    assert found.mean_iou == pytest.approx(0.8)
    assert found.share == pytest.approx(1 / 3)
    assert str(found).startswith("33.3% agree: 1 boxes of both in 1 pictures, 3 before and 3 now, mean IoU 0.80")


def test_a_box_has_one_partner() -> None:
    twice = Finder((0, 0, 10, 10, 0), (0, 0, 10, 10, 0))
    assert compared(twice, Finder((0, 0, 10, 10, 0))).matched == 1


def test_classes_are_compared_by_name() -> None:
    before = Finder((0, 0, 10, 10, 0), names={0: "car"})
    assert compared(before, Finder((0, 0, 10, 10, 7), names={7: "car"})).share == 1
    assert compared(before, Finder((0, 0, 10, 10, 0), names={0: "ship"})).share == 0


def test_pictures_that_cannot_be_used_and_empty_ones_are_no_disagreement() -> None:
    assert compared(Finder(), Finder(), (b"a", b"broken"))[:4] == (1, 0, 0, 0)
    assert compared(Finder(), Finder()).share == 1


def tried(trial: Trial, recent: RecentPictures | None = None) -> str:
    """Tries a version out that finds one of two boxes."""
    front = SimpleNamespace(recent=recent)
    before = SimpleNamespace(detector=Finder((0, 0, 10, 10, 0), (50, 50, 60, 60, 0)), front=front)
    after = SimpleNamespace(detector=Finder((0, 0, 10, 10, 0)), front=front)
    return try_out(before, after, trial)  # type: ignore[arg-type]


def recent(*pictures: bytes) -> RecentPictures:
    kept = RecentPictures(10, clock=iter(range(0, 100, 5)).__next__)
    for picture in pictures:
        kept.add(picture)
    return kept


def test_a_version_is_tried_on_given_pictures_and_on_recent_ones_if_they_are_asked_for() -> None:
    assert "in 3 pictures" in tried(Trial((b"a",), recent=True), recent(b"b", b"c"))
    assert "in 1 pictures" in tried(Trial((b"a",)), recent(b"b", b"c"))
    assert "in 2 pictures" in tried(Trial((), 0.6, recent=True), recent(b"b", b"c"))


@pytest.mark.parametrize(
    ("trial", "kept", "words"),
    [
        (Trial((), 0.1, recent=True), None, "keeps no pictures; set recent_pictures"),
        (Trial((), 0.1, recent=True), recent(), "has had no picture yet"),
        (Trial((b"broken",), 0.1), None, "none of the 1 pictures can be used"),
    ],
)
def test_without_a_picture_nothing_agrees_and_nothing_is_said_to(
    trial: Trial, kept: RecentPictures | None, words: str
) -> None:
    with pytest.raises(VersionRefusedError, match=words):
        tried(trial, kept)
    assert words in tried(trial._replace(least=0.0), kept)


def test_a_version_that_agrees_on_less_than_is_asked_for_is_refused() -> None:
    with pytest.raises(VersionRefusedError, match=r"66\.7% agree.*at least 70\.0% were asked for"):
        tried(Trial((b"a",), 0.7))
