"""`azaion detect`: finds objects in files, folders, globs and videos."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from azaion_cli.console import say, say_error, stderr
from azaion_cli.exit_codes import ExitCode
from azaion_cli.options import (
    BatchOption,
    EngineOption,
    JsonOption,
    ModelOption,
    SetOption,
    VerboseOption,
    read_settings,
)
from azaion_cli.picture_bar import picture_bar
from azaion_cli.scene_detection import SceneDetection, SceneWishes, locate_item, parse_bands
from azaion_engine.errors import InvalidParameterError, PictureError
from azaion_engine.files.sources import Item, Source, count_pictures, find_sources, pictures_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from azaion_engine.detector import Detector
    from azaion_engine.errors import AzaionError
    from azaion_engine.files.writers import Writer
    from azaion_engine.pictures.header import PictureLimits
    from azaion_engine.results.detections import Detections

Format = Literal["jsonl", "csv", "yolo", "coco", "geojson"]


def detect(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCES", help="Pictures, videos, folders, glob patterns, or - for stdin.")
    ],
    model: ModelOption = "demo",
    engine: EngineOption = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", "-c", help="Threshold, 0 to 1; default 0.25.", min=0, max=1)
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Ids or names to keep, e.g. car,truck; default: all.")
    ] = None,
    format_: Annotated[
        Format,
        typer.Option("--format", "-f", help="JSON lines, CSV, YOLO label files, one COCO document, or map polygons."),
    ] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, a folder for yolo; default: stdout.")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option("--draw", metavar="FOLDER", help="Also draw the boxes, into JPEG files there.")
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into folders of folders too.")] = False,
    bands: Annotated[
        str | None, typer.Option("--bands", help="Bands of a TIFF for red, green, blue, e.g. 4,3,2, or one for grey.")
    ] = None,
    gsd: Annotated[
        float | None, typer.Option("--gsd", help="Resample TIFFs to so many metres a pixel, those of the training.")
    ] = None,
    scene_gsd: Annotated[
        float | None, typer.Option("--scene-gsd", help="Metres a pixel of TIFFs that do not say so themselves.")
    ] = None,
    min_metres: Annotated[
        float | None, typer.Option("--min-metres", help="Keep boxes whose longer side has this length at least; TIFFs.")
    ] = None,
    max_metres: Annotated[float | None, typer.Option("--max-metres", help="Likewise at most.")] = None,
    every: Annotated[int, typer.Option("--every", help="Take every n-th frame of a video.", min=1)] = 1,
    batch_size: BatchOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find objects in pictures and videos.

    Results go to stdout, in order; bad pictures are named on stderr and stop nothing: the exit code is then 1.
    A TIFF too large to decode at once, or with an option that says so, is read in windows (extra `geo`); geojson
    writes the boxes of GeoTIFFs and of drones' photos taken straight down as WGS84 polygons.
    --json writes errors and a closing summary as JSON to stderr.
    """
    if format_ == "yolo" and output is None:
        raise typer.BadParameter("yolo writes one file a picture: name a folder", param_hint="'--output'")
    try:
        found = find_sources(sources, recursive=recursive)
    except InvalidParameterError as error:
        raise typer.BadParameter(str(error), param_hint="SOURCES") from error
    wishes = SceneWishes(parse_bands(bands), gsd, scene_gsd, min_metres, max_metres)
    settings = read_settings(set_, model=model, engine=engine, confidence=confidence, batch_size=batch_size)

    from azaion_cli.drawer import Drawer
    from azaion_cli.live_build import build_progress
    from azaion_engine.detector import Detector
    from azaion_engine.system.cores import available_cores

    threads = available_cores()
    with ExitStack() as stack:
        detector = stack.enter_context(Detector.open(settings, progress=build_progress()))
        tally = _Tally(as_json=json_)  # after loading: its clock starts here
        kept = detector.class_ids(classes.split(",")) if classes is not None else None
        writer = stack.enter_context(_writer(format_, output, detector))
        drawer = stack.enter_context(Drawer(draw, threads, tally.failure)) if draw else None
        total = partial(_count, found, every)
        advance = stack.enter_context(picture_bar(total, results_on_stdout=output is None))
        scenes = SceneDetection(detector, settings.tiles, wishes, threads)
        looked: deque[_Looked] = deque()  # taken by the detector, not answered yet

        def looks(sources: Iterable[Source]) -> Iterator[_Looked]:
            for item in (item for source in sources for item in pictures_of(source, every)):
                looked.append(_Looked(item, detector.limits if drawer else None))
                yield looked[-1]

        def answer(item: Item, result: Detections | PictureError) -> None:
            if isinstance(result, PictureError):
                tally.failure(item, result)
            else:
                tally.found(len(result))
                writer.write(item, result)

        for in_windows, sources_ in groupby(found, scenes.takes):
            if in_windows:
                for source in sources_:
                    item = Item(source.path, source.name, Path(source.path))
                    try:
                        boxes, damage = scenes.detect(source, kept, advance.windows)
                        answer(item, boxes)
                        if damage is not None:
                            tally.failure(item, damage)
                    except PictureError as error:
                        answer(item, error)
                    advance()
                continue
            for result in detector.detect_each(looks(sources_), threads=threads, classes=kept):
                one = looked.popleft()
                answer(one.item, result)
                if drawer and one.pixels is not None and not isinstance(result, PictureError):
                    drawer.draw(one.item, one.pixels, result)
                advance()
    tally.report()
    return ExitCode.PICTURES_FAILED if tally.failed else ExitCode.OK


class _Looked:
    """One item, as a function that loads its picture: `Detector.detect_each` calls it.

    Attributes:
        item: The item.
        pixels: uint8 RGB `[height, width, 3]` after the call, if needed for drawing; else None.
    """

    def __init__(self, item: Item, limits: PictureLimits | None) -> None:
        """Reads nothing yet; with limits, the call keeps the pixels."""
        self.item = item
        self.pixels: NDArray[np.uint8] | None = None
        self._limits = limits

    def __call__(self) -> bytes | NDArray[np.uint8]:
        """Reads the picture, and decodes it if its pixels are needed; raises PictureError."""
        picture = self.item.load()
        if self._limits is None:
            return picture
        if isinstance(picture, bytes):
            from azaion_engine.pictures.codec import decode

            picture = decode(picture, self._limits)
        self.pixels = picture
        return picture


@contextmanager
def _writer(kind: Format, output: Path | None, detector: Detector) -> Iterator[Writer]:
    """Opens the output and yields its writer; finishes it even if the run is interrupted."""
    from azaion_engine.files.geojson import GeoJson
    from azaion_engine.files.writers import Coco, Csv, JsonLines, Yolo

    if kind == "yolo" and output is not None:
        yield Yolo(output)
        return
    with ExitStack() as stack:
        stream = stack.enter_context(output.open("w", encoding="utf-8", newline="")) if output else sys.stdout
        writers: dict[Format, Callable[[], Writer]] = {
            "jsonl": lambda: JsonLines(stream),
            "csv": lambda: Csv(stream, detector.engine.choice.head.oriented),
            "coco": lambda: Coco(stream, detector.names),
            "geojson": lambda: GeoJson(stream, locate_item),
        }
        writer = writers[kind]()
        try:
            yield writer
        finally:
            writer.finish()


def _count(sources: list[Source], every: int) -> int:
    return sum(count_pictures(source, every) for source in sources)


class _Tally:
    """Counts pictures, boxes and failures; reports each failure at once."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.pictures = self.boxes = self.failed = 0
        self._begun = time.monotonic()

    def found(self, boxes: int) -> None:
        self.pictures += 1
        self.boxes += boxes

    def failure(self, item: Item, error: AzaionError) -> None:
        self.failed += 1
        say_error(error.code, f"{item.source}: {error}", as_json=self._as_json)

    def report(self) -> None:
        seconds = time.monotonic() - self._begun
        if self._as_json:
            counts = {"pictures": self.pictures, "boxes": self.boxes, "failed": self.failed}
            say(json.dumps({"summary": {**counts, "seconds": round(seconds, 3)}}))
        elif self.failed or stderr().is_terminal:
            rate = self.pictures / seconds if seconds else 0.0
            failed = f", {self.failed} failed" if self.failed else ""
            say(f"{self.pictures} pictures, {self.boxes} boxes in {seconds:.1f} s ({rate:.1f}/s){failed}")
