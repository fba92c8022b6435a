"""Stages: preparing, running and finishing pictures, each stage by itself, as a server needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.errors import InvalidParameterError
from azaion_engine.heads.proof import Proof
from azaion_engine.parameters import check_confidence, class_ids
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.prepared import MOST_BOXES, HeldTile, PreparedBatch, PreparedPicture, Selection
from azaion_engine.pictures.preparing import DecodePlace, Picture, Preparer
from azaion_engine.results.detections import Detections


class Stages:
    """Prepares pictures, runs them in batches, and finishes the rows to boxes; each stage may run in other threads."""

    def __init__(
        self,
        engine: InferenceEngine,
        names: Mapping[int, str] | None = None,
        *,
        confidence: float = 0.25,
        limits: PictureLimits | None = None,
        iou: float | None = None,
        max_detections: int = MOST_BOXES,
        decode_bytes: int | None = None,
    ) -> None:
        """Takes the arguments of `Detector` that have these names.

        Raises:
            InvalidParameterError: The confidence is out of range.
        """
        check_confidence(confidence)
        self.engine = engine
        self.names = dict(names or {})
        self.confidence = confidence
        self._iou, self._max_detections = iou, max_detections
        self._default = self.selection(self.confidence, None, None)
        self._proof = Proof()
        self._preparer = Preparer(
            engine.get_input_shape(),
            engine.open_pictures(),
            limits or PictureLimits(),
            engine.choice.form,
            DecodeMemory(decode_bytes) if decode_bytes else None,
        )

    @property
    def limits(self) -> PictureLimits:
        """Largest accepted pictures."""
        return self._preparer.limits

    @property
    def decode_memory(self) -> DecodeMemory:
        """Budget of all decodes at once."""
        return self._preparer.memory

    def place_of(self, picture: EncodedPicture) -> DecodePlace:
        """Returns where a picture is best decoded before `infer`; takes microseconds."""
        return self._preparer.place_of(picture)

    def prepare(
        self,
        picture: Picture | EncodedPicture | HeldTile,
        confidence: float | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
        timeout_s: float | None = None,
    ) -> PreparedPicture:
        """Decodes a picture and fits it into the network input, or leaves both to the GPU; thread-safe.

        Args:
            picture: Encoded bytes (also as bytearray or memoryview), a path, a PIL image, or uint8 RGB pixels
                `[height, width, 3]`; or a tile of a picture that the engine holds.
            confidence: Lowest threshold at which its boxes will be finished, 0…1; default: the detector's own. A head
                that suppresses boxes itself makes none below it.
            iou: Overlap above which the less confident of two boxes is dropped, 0…1; default: the detector's own.
            max_detections: Largest number of boxes; default: the detector's own.
            timeout_s: Maximum time to wait for memory that other decodes hold, in seconds; None: as long as it takes.

        Raises:
            PictureError: The picture cannot be decoded or is too large; the message says what was given.
            OutOfMemoryError: No memory was left, or other decodes held it for all that time.
            InvalidParameterError: The model suppresses boxes itself, so that its IoU cannot be changed.
        """
        if confidence is iou is max_detections is None:
            return self._preparer.prepare(picture, self._default, timeout_s)
        return self._preparer.prepare(picture, self.selection(confidence, iou, max_detections), timeout_s)

    def selection(
        self, confidence: float | None = None, iou: float | None = None, max_detections: int | None = None
    ) -> Selection | None:
        """Returns what a head that selects boxes is to keep; None for other heads.

        Args:
            confidence: As in `prepare`, like the other arguments.
            iou: Overlap, 0…1.
            max_detections: Number of boxes.

        Raises:
            InvalidParameterError: The model has suppressed boxes itself, so that its IoU cannot be chosen.
        """
        if not self.engine.choice.head.selective:
            if iou is not None:
                raise InvalidParameterError(
                    f"iou: cannot be chosen, given {iou}: this model's head needs no suppression, or has done it"
                )
            return None
        return Selection(
            self.confidence if confidence is None else confidence,
            self._iou if iou is None else iou,
            self._max_detections if max_detections is None else max_detections,
        )

    def infer(self, pictures: PreparedBatch | Sequence[PreparedPicture]) -> list[Found]:
        """Runs prepared pictures as one batch; as many concurrent calls as the engine has lanes are useful.

        Returns:
            For each picture, rows float32 as in `Head.rows`, or its error if the GPU cannot decode it
            or the engine fails on it.

        Raises:
            EngineClosedError: The engine was closed.
            GpuLostError: The GPU's context is lost.
        """
        found = self.engine.run_pictures(pictures if isinstance(pictures, PreparedBatch) else PreparedBatch(pictures))
        if not self._proof.given:
            self._proof.check(found, self.engine.choice.head.oriented)
        return found

    def finish(
        self,
        picture: PreparedPicture,
        rows: NDArray[np.float32],
        confidence: float | None = None,
        classes: Collection[int] | None = None,
    ) -> Detections:
        """Converts one picture's rows to boxes in pixels of that picture."""
        threshold = self.confidence if confidence is None else confidence
        return Detections.from_rows(rows, picture.letterbox, self.names, threshold, classes).first(self._max_detections)

    def finish_batch(
        self,
        pictures: Sequence[PreparedPicture],
        found: Sequence[Found],
        confidences: Sequence[float | None],
        classes: Collection[int] | None = None,
        most: Sequence[int | None] | None = None,
    ) -> list[Detections | Exception]:
        """Converts what `infer` found in a batch, as `finish` does for one picture; its errors stay errors.

        Args:
            pictures: The pictures of the batch.
            found: Rows or error of each.
            confidences: Threshold of each; None: the detector's own.
            classes: Class ids to keep; default: all.
            most: Largest number of boxes of each; None: the detector's own.
        """
        thresholds = [self.confidence if one is None else one for one in confidences]
        good = [
            (rows, picture.letterbox, threshold)
            for rows, picture, threshold in zip(found, pictures, thresholds, strict=True)
            if not isinstance(rows, Exception)
        ]
        made: Iterator[Detections]
        if len({rows.shape for rows, _, _ in good}) == 1:
            rows, letterboxes, kept = zip(*good, strict=True)
            made = iter(Detections.from_batch(np.stack(rows), letterboxes, self.names, kept, classes))
        else:  # the model's number of rows varies
            made = (Detections.from_rows(rows, box, self.names, least, classes) for rows, box, least in good)
        finished = [one if isinstance(one, Exception) else next(made) for one in found]
        limits = [self._max_detections if one is None else one for one in most or [None] * len(finished)]
        return [one if isinstance(one, Exception) else one.first(n) for one, n in zip(finished, limits, strict=True)]

    def class_ids(self, classes: Collection[int | str] | int | str) -> set[int]:
        """Resolves class ids or names (case-insensitive) to ids.

        Raises:
            InvalidParameterError: The model has no such class; the message lists its classes.
        """
        return class_ids(classes, self.names)
