"""Job: one picture on its way through the engine. Batch: jobs that run together."""

from __future__ import annotations

import time
from copy import copy
from dataclasses import dataclass, field

from azaion_engine.detector import Detector
from azaion_engine.errors import PictureError
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.prepared import PreparedBatch, PreparedPicture
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


@dataclass
class Batch:
    """Jobs that run together.

    Attributes:
        jobs: In the order of their answers.
        errors: Why a job cannot be made ready, by its index among the jobs.
    """

    jobs: list[Job]
    errors: dict[int, Exception] = field(default_factory=dict)
    _stacked: PreparedBatch | None = field(init=False, default=None)

    def prepare(self, detector: Detector) -> None:
        """Makes every job ready; a picture that cannot be decoded becomes an error of its own."""
        for index, job in enumerate(self.jobs):
            try:
                job.prepare(detector)
            except PictureError as error:
                # A copy has no traceback: its frames would keep the batch, and every picture in it, alive.
                self.errors[index] = copy(error)
            except Exception as error:
                self.errors[index] = error

    def live(self) -> tuple[list[Job], PreparedBatch]:
        """Returns the jobs that can run and whose callers still wait, and their pictures."""
        ready = [(job, job.picture) for job in self.jobs if job.picture is not None and not job.given_up]
        jobs = [job for job, _ in ready]
        if self._stacked is None or len(self._stacked) != len(jobs):
            self._stacked = PreparedBatch([picture for _, picture in ready])
        return jobs, self._stacked
