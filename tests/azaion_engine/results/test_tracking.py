"""Tracker: one object, one id, through gaps and beside others; unsure boxes only continue a track."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from azaion_engine.results.detections import Detections
from azaion_engine.results.tracking import Tracker

pytest.importorskip("trackers", reason="the extra `track` is not installed")


def found(*boxes: tuple[float, float, float]) -> Detections:
    """Boxes of 40 x 40 pixels by their left and upper edge and confidence."""
    boxes = tuple(sorted(boxes, key=lambda box: -box[2]))
    return Detections(
        boxes=np.array([(x, y, x + 40, y + 40) for x, y, _ in boxes], np.float32).reshape(-1, 4),
        confidences=np.array([confidence for *_, confidence in boxes], np.float32),
        class_ids=np.zeros(len(boxes), np.int64),
        picture_width=640,
        picture_height=480,
        names={0: "car"},
    )


def ids(tracked: Detections) -> dict[int, int]:
    """Ids by the boxes' upper edge."""
    assert tracked.track_ids is not None
    return dict(zip(tracked.boxes[:, 1].astype(int).tolist(), tracked.track_ids.tolist(), strict=True))


def test_two_objects_that_pass_keep_their_ids_from_the_second_frame_on() -> None:
    tracker = Tracker(0.5)
    seen = []
    for frame in range(30):
        x = 10.0 + 8 * frame
        boxes = [(x, 100.0, 0.9), (280.0 - x, 300.0, 0.8 + 0.01 * (frame % 3) + 0.11 * (frame % 2))]
        seen.append(ids(tracker.update(found(*boxes), frame / 10)))
    assert seen[0] == {100: -1, 300: -1}
    assert len(set(seen[1].values())) == 2
    assert min(seen[1].values()) >= 0
    assert all(one == seen[1] for one in seen[1:])


def test_an_object_that_was_hidden_for_a_second_has_its_id_again() -> None:
    tracker = Tracker(0.5)
    for frame in range(10):
        before = ids(tracker.update(found((10.0, 100.0, 0.9)), frame / 10))
    for frame in range(10, 20):
        assert len(tracker.update(found(), frame / 10)) == 0
    assert ids(tracker.update(found((12.0, 100.0, 0.9)), 2.0)) == before
    assert before[100] >= 0


def test_a_box_below_the_confidence_continues_a_track_and_begins_none() -> None:
    tracker = Tracker(0.5)
    for frame in range(5):
        before = ids(tracker.update(found((10.0, 100.0, 0.9), (400.0, 300.0, 0.2)), frame / 10))
    assert list(before) == [100]
    assert ids(tracker.update(found((10.0, 100.0, 0.2)), 0.5)) == before


def test_trackers_share_nothing() -> None:
    one, other = Tracker(0.5), Tracker(0.5)
    for frame in range(3):
        first = ids(one.update(found((10.0, 100.0, 0.9)), frame / 10))
    for frame in range(3):
        second = ids(other.update(found((300.0, 200.0, 0.9)), frame / 10))
    assert list(first.values()) == list(second.values()) == [0]


def test_ids_are_in_dicts_drawings_and_pickles() -> None:
    tracker = Tracker(0.5)
    first = tracker.update(found((10.0, 100.0, 0.9)), 0.0)
    assert [box["track_id"] for box in first.to_dicts()] == [None]
    tracked = tracker.update(found((10.0, 100.0, 0.9)), 0.1)
    assert [box["track_id"] for box in tracked.to_dicts()] == [0]
    copy = pickle.loads(pickle.dumps(tracked))
    assert copy.track_ids.tolist() == [0]
    assert len(tracked.filter(0.95).track_ids) == 0
    assert "track_id" not in found((10.0, 100.0, 0.9)).to_dicts()[0]
    canvas = np.zeros((480, 640, 3), np.uint8)
    assert (tracked.draw(canvas) != found((10.0, 100.0, 0.9)).draw(canvas)).any()
