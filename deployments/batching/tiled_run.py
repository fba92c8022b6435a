"""TiledRun: the tiles of one picture on their way through the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from azaion_engine.tiling.tiled_picture import Piece
from deployments.batching.job import Job
from deployments.watching.stage_times import StageTimes


class TiledRun:
    """Runs the jobs of a picture's tiles, some at a time; used from one event loop.

    Attributes:
        received: When the picture arrived, in `time.perf_counter` seconds.
        decode_s: Duration of its decode, seconds.
    """

    def __init__(self, received: float) -> None:
        """Runs nothing yet; `received` as the attribute."""
        self.received = received
        self.decode_s = 0.0
        self._started: list[float] = []
        self._ended = 0.0

    async def work(
        self,
        pieces: Sequence[Piece],
        make_job: Callable[[Piece], Job],
        run: Callable[[Job], Awaitable[Any]],
        at_once: int,
    ) -> None:
        """Runs all pieces; if one fails, or the caller gives up, the others are cancelled.

        Args:
            pieces: The picture's.
            make_job: Makes the job of a piece.
            run: Runs a job.
            at_once: Number of jobs that exist at a time, at least 1.

        Raises:
            Exception: The first that `run` raised.
        """
        left = iter(pieces)

        async def work_off() -> None:
            for piece in left:
                job = make_job(piece)
                await run(job)
                assert job.detections is not None  # set, since there are rows
                self._started.append(job.started)
                self._ended = max(self._ended, job.ended)
                piece.whole.answer(piece, job.detections)

        workers = [asyncio.ensure_future(work_off()) for _ in range(min(at_once, len(pieces)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)  # their places are given back after them

    def times(self) -> StageTimes:
        """Returns the stages of the whole picture; the engine's is from the first tile's start to the last's end."""
        job = Job(received=self.received)
        job.decode_s, job.started, job.ended = self.decode_s, min(self._started), self._ended
        return job.times()
