"""Runs the detector on pictures, scenes and videos."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from azaion_cli.picture_bar import picture_bar
from azaion_engine.files.sources import Item, Source, count_pictures, pictures_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from azaion_cli.detecting.answers import Answers
    from azaion_cli.detecting.tally import Tally
    from azaion_engine.detector import Detector
    from azaion_engine.pictures.header import PictureLimits
    from azaion_engine.scenes.files import SceneDetection


def run_files(
    detector: Detector,
    sources: list[Source],
    answers: Answers,
    tally: Tally,
    scenes: SceneDetection,
    *,
    every: int,
    kept: Collection[int] | None,
    threads: int,
    results_on_stdout: bool,
) -> None:
    """Answers every picture, and every n-th frame of videos, in order.

    Args:
        detector: The model.
        sources: As `find_sources` returns them.
        answers: Where results go.
        tally: Counts.
        scenes: Answers the files that are read in windows.
        every: n.
        kept: Class ids to keep; None: all.
        threads: Threads that decode, and that draw.
        results_on_stdout: Whether stdout takes the results, so that no bar may disturb them.
    """
    looked: deque[_Looked] = deque()  # taken by the detector, not answered yet

    def looks(sources: Iterable[Source]) -> Iterator[_Looked]:
        most = detector.limits.max_bytes
        for item in (item for source in sources for item in pictures_of(source, every, most)):
            looked.append(_Looked(item, detector.limits, answers.need_pixels))
            yield looked[-1]

    total = partial(_count, sources, every)
    with (
        answers.opened(detector, tally, threads) as take,
        picture_bar(total, results_on_stdout=results_on_stdout) as advance,
    ):
        confidence = answers.confidence(detector)
        for in_windows, group in groupby(sources, scenes.takes):
            if in_windows:
                for source in group:
                    if answers.need_pixels:
                        tally.not_drawn(source.path)
                    for item, found in scenes.answers(source, confidence, kept, threads, advance.windows):
                        take(item, found, None)
                    advance()
                continue
            for result in detector.detect_each(looks(group), threads=threads, confidence=confidence, classes=kept):
                one = looked.popleft()
                take(one.item, result, one.pixels)
                advance()


class _Looked:
    """One item, as a function that loads its picture: `Detector.detect_each` calls it.

    Attributes:
        item: The item.
        pixels: uint8 RGB `[height, width, 3]` after the call, if they are needed; else None.
    """

    def __init__(self, item: Item, limits: PictureLimits, need_pixels: bool) -> None:
        self.item = item
        self.pixels: NDArray[np.uint8] | None = None
        self._limits = limits
        self._need_pixels = need_pixels

    def __call__(self) -> bytes | NDArray[np.uint8]:
        """Reads the picture, and decodes it if its pixels are needed; raises PictureError."""
        picture = self.item.load(self._limits.max_bytes)
        if not self._need_pixels:
            return picture
        if isinstance(picture, bytes):
            from azaion_engine.pictures.codec import decode

            picture = decode(picture, self._limits)
        self.pixels = picture
        return picture


def _count(sources: list[Source], every: int) -> int:
    return sum(count_pictures(source, every) for source in sources)
