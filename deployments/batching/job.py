"""Job: one picture on its way through the engine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from azaion_engine.detector import Detector
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.prepared import HeldTile, PreparedPicture
from azaion_engine.results.detections import Detections
from azaion_engine.tiling.tiled_picture import Piece
from deployments.batching.gate import Wave
from deployments.watching.stage_times import StageTimes


@dataclass
class Job:
    """One picture with its state and times.

    Attributes:
        encoded: The picture as received; None if there is nothing to decode.
        piece: The tile of a larger picture that it is; None for a picture of its own.
        picture: The prepared picture; None until it is prepared.
        confidence: Threshold of its boxes, 0…1; None for the detector's own.
        iou: Overlap above which the less confident of two boxes is dropped, 0…1; None for the detector's own.
        max_detections: Maximum number of its boxes; None for the detector's own.
        detections: Its boxes; None until its batch is over, and for a job that came prepared: it is after the rows.
        wave: The batch that it was let in with.
        received: When it arrived, in `time.perf_counter` seconds like `started` and `ended`.
        in_batch: Whether its batch was submitted to the engine's threads.
        given_up: Whether its caller no longer waits.
        decode_s: Duration of decoding, seconds.
        started: When its batch started.
        ended: When its batch ended.
    """

    encoded: EncodedPicture | None = None
    picture: PreparedPicture | None = None
    confidence: float | None = None
    iou: float | None = None
    max_detections: int | None = None
    piece: Piece | None = None
    detections: Detections | None = None
    wave: Wave = field(init=False)
    received: float = field(default_factory=time.perf_counter)
    in_batch: bool = False
    given_up: bool = False
    decode_s: float = 0.0
    started: float = 0.0
    ended: float = 0.0

    @property
    def is_picture(self) -> bool:
        """Whether boxes are wanted of it, in its pixels; else it came prepared, and its rows are."""
        return self.encoded is not None or self.piece is not None

    def prepare(self, detector: Detector, deadline: float | None = None) -> None:
        """Prepares the picture, unless it is prepared already.

        Args:
            detector: The detector that will run it.
            deadline: When its caller's time is over, in `time.perf_counter` seconds; None: never.

        Raises:
            PictureError: The picture cannot be decoded.
            OutOfMemoryError: Other decodes hold the memory that it needs.
        """
        if self.picture is not None or not self.is_picture:
            return
        began = time.perf_counter()
        timeout_s = None if deadline is None else max(0.0, deadline - began)

        def prepare(picture: EncodedPicture | NDArray[np.uint8] | HeldTile) -> PreparedPicture:
            return detector.prepare(picture, self.confidence, self.iou, self.max_detections, timeout_s)

        if self.piece is not None:
            self.picture = self.piece.whole.prepare(self.piece, prepare)
        elif self.encoded is not None:
            self.picture = prepare(self.encoded)
        self.decode_s = time.perf_counter() - began

    def times(self) -> StageTimes:
        """Returns how long each stage took, until now."""
        return StageTimes(
            decode=round(self.decode_s * 1000, 3),
            queue=round(max(0.0, self.started - self.received - self.decode_s) * 1000, 3),
            engine=round((self.ended - self.started) * 1000, 3),
            total=round((time.perf_counter() - self.received) * 1000, 3),
            received=self.received,
            batch_started=self.started,
        )
