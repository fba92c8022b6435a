"""Tracker: gives the boxes of one object the same id in all frames of a video or stream."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from azaion_engine.extras import import_extra
from azaion_engine.results.detections import Detections

LOW_CONFIDENCE = 0.1
"""Confidence down to which a tracker is to be given boxes: below it ByteTrack's authors use none (arXiv 2110.06864)."""

_LOST_FRAMES = 90
"""Frames of a thirtieth of a second, that is 3 s, after which an object that was not seen is forgotten."""


class Tracker:
    """Follows the objects of one video or stream with ByteTrack, of the package `trackers`.

    ByteTrack matches predicted and found boxes by overlap, sure ones first; unsure ones only continue a track. It looks
    at no pixels and at no classes.
    """

    def __init__(self, confidence: float) -> None:
        """Begins without objects.

        Args:
            confidence: Confidence from which a box is sure: it begins a track, and is kept without one, 0…1.

        Raises:
            MissingDependencyError: The extra `track` is not installed.
        """
        self._confidence = confidence
        self._sv, kind = _load()
        self._tracker = kind(
            lost_track_buffer=_LOST_FRAMES,
            track_activation_threshold=confidence,
            high_conf_det_threshold=confidence,
            minimum_consecutive_frames=1,
        )

    def update(self, found: Detections, time_s: float | None = None) -> Detections:
        """Returns the boxes of the next frame with `track_ids`; a box below the confidence only where it has an id.

        An object has its id from the second frame on in which it is found.

        Args:
            found: All boxes down to `LOW_CONFIDENCE`.
            time_s: Time of the frame, later than that of the last one; None: a thirtieth of a second after it.
        """
        given = self._sv.Detections(
            xyxy=found.boxes.astype(np.float64).reshape(-1, 4),
            confidence=found.confidences,
            class_id=np.arange(len(found)),  # the tracker changes the order: this brings it back
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of two frames with one time: the second is not predicted
            tracked = self._tracker.update(given, timestamp=time_s)
        ids = np.full(len(found), -1, np.int64)
        if len(tracked):
            ids[tracked.class_id] = tracked.tracker_id
        kept = (found.confidences >= self._confidence) | (ids >= 0)
        return replace(found, track_ids=ids).only(kept)


def _load() -> tuple[Any, Any]:
    remedy = (
        "pip install 'azaion-engine[track]'; without libGL: pip install supervision, "
        "then pip install --no-deps trackers"
    )
    supervision = import_extra("supervision", "supervision, which tracking needs,", remedy)
    return supervision, import_extra("trackers", "trackers, which tracking needs,", remedy).ByteTrackTracker
