"""`azaion detect`: finds objects in files, folders, globs, videos and live streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from azaion_cli.detecting.formats import Format
from azaion_cli.detecting.scenes import parse_bands
from azaion_cli.exit_codes import ExitCode
from azaion_cli.options import (
    BandsOption,
    BatchOption,
    ClassesOption,
    ConfidenceOption,
    EngineOption,
    GsdOption,
    JsonOption,
    ModelOption,
    RecursiveOption,
    SceneGsdOption,
    SetOption,
    TilesOption,
    VerboseOption,
    read_settings,
)
from azaion_engine.errors import InvalidParameterError
from azaion_engine.files.sources import STDIN, Source, find_sources
from azaion_engine.files.streams import is_stream


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCES",
            help="Pictures, videos, folders, glob patterns, - for stdin; or streams: rtsp://… and the like, or the "
            "number of a camera.",
        ),
    ],
    model: ModelOption = "demo",
    engine: EngineOption = None,
    confidence: ConfidenceOption = None,
    classes: ClassesOption = None,
    format_: Annotated[
        Format,
        typer.Option("--format", "-f", help="JSON lines, CSV, YOLO label files, one COCO document, or map polygons."),
    ] = "jsonl",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write, a folder for yolo; default, and -: stdout.")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option("--draw", metavar="FOLDER", help="Also draw the boxes, into JPEG files there.")
    ] = None,
    bands: BandsOption = None,
    gsd: GsdOption = None,
    scene_gsd: SceneGsdOption = None,
    min_metres: Annotated[
        float | None, typer.Option("--min-metres", help="Of TIFFs, keep boxes whose longer side has this length.")
    ] = None,
    max_metres: Annotated[float | None, typer.Option("--max-metres", help="Likewise at most.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist already; inputs never are.")
    ] = False,
    recursive: RecursiveOption = False,
    every: Annotated[int, typer.Option("--every", help="Take every n-th frame of a video or stream.", min=1)] = 1,
    track: Annotated[
        bool,
        typer.Option("--track", help="Give an object one id in all frames of a video or stream (extra `track`)."),
    ] = False,
    reconnects: Annotated[
        int,
        typer.Option(
            "--reconnects", help="Give a stream up after this many failed attempts, one after another.", min=0
        ),
    ] = 5,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End streams after this time; default: never.", min=0)
    ] = None,
    tiles: TilesOption = None,
    batch_size: BatchOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find objects in pictures, videos and live streams.

    Results go to stdout, in order; bad pictures are named on stderr and stop nothing: the exit code is then 1. A file
    named by --output appears when it is complete; nothing that exists is replaced unless --overwrite says so, and no
    input ever. Of a stream the newest frame is answered, older ones are skipped; streams share batches.
    A TIFF above the limits of pictures, or with an option for TIFFs, is read in windows (extra `geo`). geojson writes
    the boxes of GeoTIFFs, and of drones' photos taken straight down, as WGS84 polygons.
    --json writes errors and a closing summary as JSON to stderr.
    """
    if output == Path(STDIN):
        output = None
    streams = [text for text in sources if is_stream(text)]
    found = _checked(sources, streams, format_, output, recursive)
    parsed_bands = parse_bands(bands)
    settings = read_settings(
        set_, model=model, engine=engine, confidence=confidence, batch_size=batch_size, tiles=tiles
    )

    from azaion_cli.detecting.answers import Answers
    from azaion_cli.detecting.files import run_files
    from azaion_cli.detecting.live import run_streams
    from azaion_cli.detecting.tally import Tally
    from azaion_cli.live_build import build_progress
    from azaion_engine.detector import Detector
    from azaion_engine.scenes.files import SceneDetection, SceneWishes
    from azaion_engine.system.cores import available_cores

    wishes = SceneWishes(parsed_bands, gsd, scene_gsd, min_metres, max_metres)
    threads = available_cores()
    inputs = [str(path) for path in (settings.model, settings.labels) if path is not None]
    answers = Answers(  # before loading: a wrong output costs no time
        format_,
        output,
        draw,
        found,
        streams=len(streams),
        inputs=inputs,
        overwrite=overwrite,
        track=track,
    )
    interrupted = False
    with Detector.open(settings, progress=build_progress()) as detector:
        tally = Tally(as_json=json_)  # after loading: its clock starts here
        kept = detector.class_ids(classes.split(",")) if classes is not None else None
        if streams:
            interrupted = run_streams(
                detector,
                streams,
                answers,
                tally,
                every=every,
                kept=kept,
                threads=threads,
                reconnects=reconnects,
                seconds=seconds,
            )
        else:
            run_files(
                detector,
                found,
                answers,
                tally,
                SceneDetection(detector, settings.tiles, wishes),
                every=every,
                kept=kept,
                threads=threads,
                results_on_stdout=output is None,
            )
            tally.report()
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.PICTURES_FAILED if tally.failed else ExitCode.OK


def _checked(
    given: list[str], streams: list[str], format_: Format, output: Path | None, recursive: bool
) -> list[Source]:
    """Returns the sources, none for streams; raises typer.BadParameter for what does not go together."""
    if format_ == "yolo" and output is None:
        raise typer.BadParameter("yolo writes one file a picture: name a folder", param_hint="'--output'")
    if not streams:
        try:
            return find_sources(given, recursive=recursive)
        except InvalidParameterError as error:
            raise typer.BadParameter(str(error), param_hint="SOURCES") from error
    if len(streams) < len(given):
        raise typer.BadParameter("streams and files go into separate runs", param_hint="SOURCES")
    if format_ != "jsonl":
        raise typer.BadParameter(f"streams are answered as jsonl, given {format_}", param_hint="'--format'")
    return []
