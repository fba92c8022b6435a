"""Runs the detector on live streams."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from azaion_engine.files.streams import Streams

if TYPE_CHECKING:
    from azaion_cli.detecting.answers import Answers
    from azaion_cli.detecting.tally import Tally
    from azaion_engine.detector import Detector


def run_streams(
    detector: Detector,
    addresses: list[str],
    answers: Answers,
    tally: Tally,
    *,
    every: int,
    kept: Collection[int] | None,
    threads: int,
    reconnects: int,
    seconds: float | None,
) -> bool:
    """Answers the newest frames of all streams, those of one moment in one batch.

    Args:
        detector: The model.
        addresses: As `is_stream` accepts them.
        answers: Where results go.
        tally: Counts and, at the end, reports.
        every: Only each n-th frame of a stream counts.
        kept: Class ids to keep; None: all.
        threads: Threads that draw.
        reconnects: Failed attempts, one after the other, after which a stream is given up.
        seconds: Time after which the run ends; None: when all streams have ended.

    Returns:
        Whether Ctrl+C or SIGTERM ended it; what was answered is kept then too.
    """
    until = None if seconds is None else time.monotonic() + seconds
    interrupted = False
    streams = Streams(addresses, reconnects=reconnects, every=every, lost=tally.lost)
    with answers.opened(detector, tally, threads) as take, streams:
        confidence = answers.confidence(detector)
        try:
            for items in streams.newest(until):
                frames = [item.load for item in items]
                results = detector.detect_each(frames, confidence=confidence, classes=kept)
                for item, result in zip(items, results, strict=True):
                    pixels = item.picture if isinstance(item.picture, np.ndarray) else None
                    take(item, result, pixels)
        except KeyboardInterrupt:
            interrupted = True
    tally.report(streams.skipped)
    return interrupted
