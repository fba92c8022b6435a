"""Job: one picture on its way through the engine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from azaion_engine.detector import Detector
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.prepared import PreparedPicture
from deployments.batching.gate import Wave
from deployments.watching.stage_times import StageTimes


@dataclass
class Job:
    """One picture.

    Attributes:
        encoded: The picture as it came; None where there is nothing to decode.
        picture: Ready for the engine.
        wave: What it was let into `@serve.batch` with.
        received: When it came, `time.perf_counter` seconds, as are the other times.
        in_batch: Whether `@serve.batch` has handed it to one of the engine's threads.
        given_up: Whether its caller no longer waits.
        decode_s: Seconds that decoding took.
        started: When its batch started.
        ended: When its batch ended.
    """

    encoded: EncodedPicture | None = None
    picture: PreparedPicture | None = None
    wave: Wave = field(init=False)
    received: float = field(default_factory=time.perf_counter)
    in_batch: bool = False
    given_up: bool = False
    decode_s: float = 0.0
    started: float = 0.0
    ended: float = 0.0

    def prepare(self, detector: Detector) -> None:
        """Decodes what is not ready yet.

        Args:
            detector: Whose engine is to run it.

        Raises:
            PictureError: It cannot be decoded.
        """
        if self.picture is None and self.encoded is not None:
            began = time.perf_counter()
            self.picture = detector.prepare(self.encoded)
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
