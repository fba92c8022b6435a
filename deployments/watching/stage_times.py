"""StageTimes: how long one picture spent in each stage of the service."""

from __future__ import annotations

from typing import NamedTuple


class StageTimes(NamedTuple):
    """The stages of one answered picture.

    Attributes:
        decode: Milliseconds of decoding before its batch; 0 where the GPU decodes.
        queue: Milliseconds that it waited for the engine.
        engine: Milliseconds of its whole batch.
        total: Milliseconds from its arrival to its boxes.
        received: When it arrived, `time.perf_counter` seconds.
        batch_started: When its batch started, likewise; the same for all pictures of one batch.
    """

    decode: float
    queue: float
    engine: float
    total: float
    received: float
    batch_started: float

    @property
    def batch_ended(self) -> float:
        """When its batch ended, `time.perf_counter` seconds."""
        return self.batch_started + self.engine / 1000

    def milliseconds(self) -> dict[str, float]:
        """Returns the four durations by name, as answers carry them."""
        return {"decode": self.decode, "queue": self.queue, "engine": self.engine, "total": self.total}
