"""Answers: where the results of a run go, checked before the model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from azaion_cli.detecting.drawer import DRAWN_SUFFIX, Drawer
from azaion_cli.detecting.formats import Format
from azaion_engine.errors import PictureError
from azaion_engine.files.geojson import GeoJson
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.files.sources import Item, Source
from azaion_engine.files.streams import frames_start
from azaion_engine.files.writers import Coco, Csv, FileNames, JsonLines, Writer, Yolo
from azaion_engine.results.tracking import LOW_CONFIDENCE, Tracker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from azaion_cli.detecting.tally import Tally
    from azaion_engine.detector import Detector
    from azaion_engine.results.detections import Detections


class Answers:
    """Takes each picture's result: counts it, tracks, writes and draws it."""

    def __init__(
        self,
        kind: Format,
        to: Path | None,
        drawn: Path | None,
        sources: list[Source],
        *,
        streams: int,
        inputs: list[str],
        overwrite: bool,
        track: bool,
    ) -> None:
        """Checks every output; nothing is written yet.

        Args:
            kind: Format of the results.
            to: File, or folder of `yolo`; None: stdout.
            drawn: Folder of the pictures with their boxes; None: none are drawn.
            sources: Pictures and videos whose files are planned.
            streams: Number of live streams, whose drawn frames are planned.
            inputs: Other files that must stay as they are, such as the model.
            overwrite: Whether files may be replaced that exist already.
            track: Whether the objects of videos and streams get ids.

        Raises:
            InvalidParameterError: An output is an input, exists already, or is another output too.
            OSError: The folder of an output does not exist or cannot be written to.
        """
        self._kind, self._to, self._drawn = kind, to, drawn
        self._track = track
        self._output = SafeOutput([*inputs, *(source.path for source in sources)], overwrite=overwrite)
        if to is not None and kind == "yolo":
            FileNames(to, ".txt").plan(sources, self._output)
        elif to is not None:
            self._output.plan(to)
        if drawn is not None:
            FileNames(drawn, DRAWN_SUFFIX).plan(sources, self._output)
            frames = [(frames_start(index), DRAWN_SUFFIX) for index in range(streams)]
            self._output.plan_in(drawn, (), frames)

    @property
    def need_pixels(self) -> bool:
        """Whether `take` needs the pictures' pixels."""
        return self._drawn is not None

    def confidence(self, detector: Detector) -> float | None:
        """Returns the confidence to detect at; None: the detector's own."""
        return min(detector.confidence, LOW_CONFIDENCE) if self._track else None

    @contextmanager
    def opened(
        self, detector: Detector, tally: Tally, threads: int
    ) -> Iterator[Callable[[Item, Detections | PictureError, NDArray[np.uint8] | None], None]]:
        """Yields the function that takes an item, its result, and its pixels if they are needed.

        The outputs are complete at the end of the block; after an error, what is one file is not there at all.
        """
        trackers: dict[tuple[str, int | None], Tracker] = {}
        if self._track:
            Tracker(detector.confidence)  # says at once that the extra is missing

        with ExitStack() as stack:
            writer = stack.enter_context(self._writer(detector))
            drawer = None
            if self._drawn is not None:
                drawer = stack.enter_context(Drawer(self._drawn, self._output, threads, tally.failure))

            def take(item: Item, result: Detections | PictureError, pixels: NDArray[np.uint8] | None) -> None:
                if isinstance(result, PictureError):
                    tally.failure(item, result)
                    return
                if self._track:
                    result = _tracked(trackers, item, result, detector.confidence)
                tally.found(len(result))
                writer.write(item, result)
                if drawer and pixels is not None:
                    drawer.draw(item, pixels, result)

            yield take

    @contextmanager
    def _writer(self, detector: Detector) -> Iterator[Writer]:
        if self._kind == "yolo" and self._to is not None:
            labels = Yolo(self._to, self._output)
            yield labels
            labels.finish()
            return
        from azaion_engine.scenes.files import locate_item

        with ExitStack() as stack:
            stream = stack.enter_context(self._output.text(self._to)) if self._to else sys.stdout
            head = detector.engine.choice.head
            points = head.keypoints.count if head.keypoints else 0
            writers: dict[Format, Callable[[], Writer]] = {
                "jsonl": lambda: JsonLines(stream),
                "csv": lambda: Csv(stream, head.oriented, self._track, points),
                "coco": lambda: Coco(stream, detector.names),
                "geojson": lambda: GeoJson(stream, locate_item),
            }
            writer = writers[self._kind]()
            yield writer
            writer.finish()


def _tracked(
    trackers: dict[tuple[str, int | None], Tracker], item: Item, found: Detections, confidence: float
) -> Detections:
    """Returns the boxes of a frame with ids; a picture's without."""
    if item.frame is None:
        return found.filter(confidence)
    key = item.source, item.stream
    if key not in trackers:
        trackers[key] = Tracker(confidence)
    return trackers[key].update(found, item.time_s if item.clock_s is None else item.clock_s)
