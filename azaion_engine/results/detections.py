"""Detections: the boxes found in one picture, in that picture's own pixels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidTensorError
from azaion_engine.geometry import corners_of
from azaion_engine.pictures.letterbox import Letterbox, steps_of
from azaion_engine.pictures.mapping import columns_to_pictures, keypoints_to_pictures, oriented_to_pictures
from azaion_engine.results.detection import Detection
from azaion_engine.results.drawing import draw_boxes

_MIN_CLASS, _MAX_CLASS = -0.5, 2**31 - 1


@dataclass(frozen=True, eq=False)
class Detections:
    """All boxes of one picture, most confident first.

    Attributes:
        boxes: float32 `[n, 4]` of x1, y1, x2, y2 in pixels of the upright picture, inside it, never empty.
        confidences: float32 `[n]`, 0…1, descending.
        class_ids: int64 `[n]`, 0 or greater.
        picture_width: Of the upright picture, in pixels.
        picture_height: Of the upright picture, in pixels.
        names: Class id → class name; may be incomplete.
        oriented: Of a model for oriented boxes, float32 `[n, 5]`: centre x, centre y, width, height in pixels, not
            clipped, and angle in radians, as in `geometry`; `boxes` are the upright boxes around them. Else None.
        track_ids: int64 `[n]`, from 0, of boxes that a `Tracker` follows through the frames of a video or stream; -1:
            not followed yet. None without tracking.
        keypoints: Of a pose model, float32 `[n, count, 3]`: x, y in pixels, inside the picture, and visibility 0…1; of
            a model that does not tell it, 1. Else None.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    picture_width: int
    picture_height: int
    names: Mapping[int, str]
    oriented: NDArray[np.float32] | None = None
    track_ids: NDArray[np.int64] | None = None
    keypoints: NDArray[np.float32] | None = None

    @classmethod
    def from_rows(
        cls,
        rows: NDArray[Any],
        letterbox: Letterbox,
        names: Mapping[int, str],
        confidence: float = 0.25,
        classes: Collection[int] | None = None,
    ) -> Detections:
        """Converts an engine's rows for one picture to boxes: `from_batch` for a batch of one.

        Args:
            rows: `[k, 6]`, `[k, 7]` or `[k, 6 + 3 * count]`, as for `from_batch`.
            letterbox: The transform from picture to network input.
            names: Class id → class name.
            confidence: Rows at or above it are kept, 0…1.
            classes: Class ids to keep; None keeps all.

        Raises:
            InvalidTensorError: `rows` has another shape.
        """
        if rows.ndim != 2 or (rows.shape[1] != 7 and (rows.shape[1] < 6 or rows.shape[1] % 3)):
            raise InvalidTensorError(
                "expected rows [k, 6], with angles [k, 7], or with keypoints [k, 6 + 3 * count], "
                f"given {list(rows.shape)}"
            )
        [found] = cls.from_batch(rows[None], [letterbox], names, confidence, classes)
        return found

    @classmethod
    def from_batch(
        cls,
        rows: NDArray[Any],
        letterboxes: Sequence[Letterbox],
        names: Mapping[int, str],
        confidence: float | Sequence[float] = 0.25,
        classes: Collection[int] | None = None,
    ) -> list[Detections]:
        """Converts an engine's rows for the pictures of a batch to boxes.

        Drops rows below the confidence, of other classes or of a negative one, rows with NaN or infinity, and boxes
        with no area, or none inside the picture (models pad their output with such rows). Rows of equal confidence keep
        the model's order.

        Args:
            rows: `[n, k, 6]`: x1, y1, x2, y2 in pixels of the network input, confidence 0…1, class; or `[n, k, 7]`:
                centre x, centre y, width, height, confidence, class, angle; or `[n, k, 6 + 3 * count]`: the six, then
                x, y in pixels of the network input and visibility of each keypoint.
            letterboxes: The transform from each picture to the network input.
            names: Class id → class name.
            confidence: Rows at or above it are kept, 0…1: one for all pictures, or `[n]`.
            classes: Class ids to keep; None keeps all.

        Returns:
            One for each picture, in order.
        """
        # Speed depends on the number of NumPy calls, and on long inner loops: all pictures at once, column by column.
        # Few of the usual 300 rows a picture pass the first test. NaN compares false.
        least = np.asarray(confidence, rows.dtype).reshape(-1, 1)  # in the rows' precision: 0.7 is kept at 0.7
        [kept] = (rows[:, :, 4] >= least).reshape(-1).nonzero()
        columns = rows.reshape(-1, rows.shape[2]).take(kept, axis=0).T.astype(np.float32, order="C")
        picture = kept // max(1, rows.shape[1])
        # Classes are compared before the cast to int, which is undefined for values outside its range.
        proper = np.logical_and.reduce(np.isfinite(columns), axis=0)
        proper &= columns[5] >= _MIN_CLASS
        proper &= columns[5] < _MAX_CLASS
        columns, picture = columns.compress(proper, axis=1), picture[proper]
        oriented = keypoints = None
        steps = steps_of(letterboxes, picture)
        if len(columns) == 7:
            oriented, boxes = oriented_to_pictures(columns[[0, 1, 2, 3, 6]], steps)
        else:
            boxes = columns_to_pictures(columns[:4], steps)
        if len(columns) > 7:
            keypoints = keypoints_to_pictures(columns[6:], steps)
        confidences, class_ids = columns[4], np.rint(columns[5]).astype(np.int64)
        larger = boxes[2:] > boxes[:2]
        keep = larger[0] & larger[1]
        if oriented is not None:
            keep &= (oriented[2:4] > 0).all(axis=0)
        if classes is not None:
            keep &= _of_classes(class_ids, classes)
        [order] = keep.nonzero()
        confidences, picture = confidences[order], picture[order]
        if not ((confidences[1:] <= confidences[:-1]) | (picture[1:] != picture[:-1])).all():  # most models sort
            falling = np.lexsort((-confidences, picture))  # stable: rows of equal confidence keep the model's order
            order, confidences = order[falling], confidences[falling]
        boxes, class_ids = np.ascontiguousarray(boxes.take(order, axis=1).T), class_ids[order]
        if oriented is not None:
            oriented = np.ascontiguousarray(oriented.take(order, axis=1).T)
        if keypoints is not None:
            keypoints = keypoints[order]
        ends = picture.searchsorted(np.arange(1, len(letterboxes) + 1)).tolist()
        return [
            cls(
                boxes[begin:end],
                confidences[begin:end],
                class_ids[begin:end],
                picture_width=letterbox.picture_width,
                picture_height=letterbox.picture_height,
                names=names,
                oriented=None if oriented is None else oriented[begin:end],
                keypoints=None if keypoints is None else keypoints[begin:end],
            )
            for letterbox, begin, end in zip(letterboxes, [0, *ends], ends, strict=False)
        ]

    def filter(self, confidence: float = 0.0, classes: Collection[int] | None = None) -> Detections:
        """Returns only the boxes at or above a confidence (0…1) and of some classes (None: of all)."""
        return self.only((self.confidences >= confidence) & _of_classes(self.class_ids, classes))

    def first(self, most: int) -> Detections:
        """Returns the most confident boxes, at most this many."""
        if len(self) <= most:
            return self
        return self.only(slice(most))

    @property
    def corners(self) -> NDArray[np.float32] | None:
        """Corners of oriented boxes, float32 `[n, 4, 2]` of x, y in pixels, ordered as in `geometry`; else None."""
        return None if self.oriented is None else corners_of(self.oriented).astype(np.float32)

    def class_name(self, class_id: int) -> str:
        """Returns the name of a class, `class_{id}` if it has none."""
        return self.names.get(class_id, f"class_{class_id}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __reduce__(self) -> tuple[Any, ...]:
        # As bytes, because pickling three arrays takes longer.
        columns = (self.boxes.tobytes(), self.confidences.tobytes(), self.class_ids.tobytes())
        oriented = None if self.oriented is None else self.oriented.tobytes()
        tracks = None if self.track_ids is None else self.track_ids.tobytes()
        points = None if self.keypoints is None else (self.keypoints.tobytes(), self.keypoints.shape)
        return _from_bytes, (*columns, self.picture_width, self.picture_height, self.names, oriented, tracks, points)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(self.boxes.tolist(), self.confidences.tolist(), self.class_ids.tolist(), strict=True)
        turned: Iterator[tuple[Any, Any]] = repeat((None, None))
        if self.oriented is not None and self.corners is not None:
            corners = (tuple(map(tuple, one)) for one in self.corners.tolist())
            turned = zip(self.oriented[:, 4].tolist(), corners, strict=True)
        points: Iterator[Any] = repeat(None)
        if self.keypoints is not None:
            points = (tuple(map(tuple, one)) for one in self.keypoints.tolist())
        for (x1, y1, x2, y2), confidence, class_id in rows:
            name = self.class_name(class_id)
            yield Detection(x1, y1, x2, y2, confidence, class_id, name, *next(turned), next(points))

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns one JSON-ready dict per box, keyed as `Detection`; pixels to 2 decimals, confidence and angle to 4.

        Upright boxes have no `angle` and `corners`, those of other than pose models no `keypoints` (visibility to 4
        decimals). Only tracked ones have a `track_id`, None while it is not known.
        """
        # Rounded as arrays, because rounding one by one takes longer.
        boxes = self.boxes.astype(np.float64).round(2).tolist()
        confidences = self.confidences.astype(np.float64).round(4).tolist()
        class_ids = self.class_ids.tolist()
        names = {class_id: self.class_name(class_id) for class_id in set(class_ids)}
        found = [
            {
                "x1": x1,
                "y1": y1,
                "x2": x2,
                "y2": y2,
                "confidence": confidence,
                "class_id": class_id,
                "class_name": names[class_id],
            }
            for (x1, y1, x2, y2), confidence, class_id in zip(boxes, confidences, class_ids, strict=True)
        ]
        if self.oriented is not None:
            angles = self.oriented[:, 4].astype(np.float64).round(4).tolist()
            corners = corners_of(self.oriented).round(2).tolist()
            for box, angle, points in zip(found, angles, corners, strict=True):
                box |= {"angle": angle, "corners": points}
        if self.keypoints is not None:
            places = self.keypoints[:, :, :2].astype(np.float64).round(2).tolist()
            seen = self.keypoints[:, :, 2].astype(np.float64).round(4).tolist()
            for box, at, visible in zip(found, places, seen, strict=True):
                box["keypoints"] = [[*place, share] for place, share in zip(at, visible, strict=True)]
        if self.track_ids is not None:
            for box, track in zip(found, self.track_ids.tolist(), strict=True):
                box["track_id"] = track if track >= 0 else None
        return found

    def draw(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draws the boxes with their names and confidences.

        Args:
            picture: uint8 `[picture_height, picture_width, 3]`, RGB: the upright picture of these detections.

        Returns:
            uint8 `[picture_height, picture_width, 3]`, RGB, a new array.

        Raises:
            InvalidTensorError: `picture` has another size.
        """
        expected = (self.picture_height, self.picture_width, 3)
        if picture.dtype != np.uint8 or picture.shape != expected:
            raise InvalidTensorError(
                f"expected a picture uint8 {list(expected)}, given {picture.dtype} {list(picture.shape)}"
            )
        tracks = [""] * len(self)
        if self.track_ids is not None:
            tracks = [f" #{track}" if track >= 0 else "" for track in self.track_ids.tolist()]
        labels = [f"{box.class_name}{track} {box.confidence:.2f}" for box, track in zip(self, tracks, strict=True)]
        fallbacks = [
            f"class_{box.class_id}{track} {box.confidence:.2f}" for box, track in zip(self, tracks, strict=True)
        ]
        return draw_boxes(picture, self.boxes, self.class_ids, labels, fallbacks, self.corners, self.keypoints)

    def only(self, which: Any) -> Detections:
        """Returns the boxes that an index of arrays chooses."""
        return replace(
            self,
            boxes=self.boxes[which],
            confidences=self.confidences[which],
            class_ids=self.class_ids[which],
            oriented=None if self.oriented is None else self.oriented[which],
            track_ids=None if self.track_ids is None else self.track_ids[which],
            keypoints=None if self.keypoints is None else self.keypoints[which],
        )


def _of_classes(class_ids: NDArray[np.int64], classes: Collection[int] | None) -> NDArray[np.bool_]:
    if classes is None:
        return np.ones(len(class_ids), np.bool_)
    return np.isin(class_ids, np.fromiter(classes, np.int64, len(classes)))


def _from_bytes(
    boxes: bytes,
    confidences: bytes,
    class_ids: bytes,
    width: int,
    height: int,
    names: Mapping[int, str],
    oriented: bytes | None,
    tracks: bytes | None = None,
    keypoints: tuple[bytes, tuple[int, ...]] | None = None,
) -> Detections:
    # Through bytearray, because an array over bytes is read-only.
    return Detections(
        boxes=np.frombuffer(bytearray(boxes), np.float32).reshape(-1, 4),
        confidences=np.frombuffer(bytearray(confidences), np.float32),
        class_ids=np.frombuffer(bytearray(class_ids), np.int64),
        picture_width=width,
        picture_height=height,
        names=names,
        oriented=None if oriented is None else np.frombuffer(bytearray(oriented), np.float32).reshape(-1, 5),
        track_ids=None if tracks is None else np.frombuffer(bytearray(tracks), np.int64),
        keypoints=None
        if keypoints is None
        else np.frombuffer(bytearray(keypoints[0]), np.float32).reshape(keypoints[1]),
    )
