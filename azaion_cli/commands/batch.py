"""`azaion batch`: finds objects in a whole archive, in folders or buckets, and goes on where an earlier run ended."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from azaion_cli.detecting.scenes import parse_bands
from azaion_cli.exit_codes import ExitCode
from azaion_cli.joining import ready_to_join
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


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCES",
            help="Folders, pictures, videos, glob patterns, lists (.txt), Parquet files, and s3://, gs:// or az:// "
            "addresses of any of these.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Folder of the results, or an address.")],
    model: ModelOption = "demo",
    engine: EngineOption = None,
    confidence: ConfidenceOption = None,
    classes: ClassesOption = None,
    format_: Annotated[
        Literal["parquet", "jsonl", "coco", "geojson"],
        typer.Option("--format", "-f", help="Also one document of all results: JSON lines, COCO or map polygons."),
    ] = "parquet",
    bands: BandsOption = None,
    gsd: GsdOption = None,
    scene_gsd: SceneGsdOption = None,
    recursive: RecursiveOption = False,
    every: Annotated[int, typer.Option("--every", help="Take every n-th frame of a video.", min=1)] = 1,
    tiles: TilesOption = None,
    batch_size: BatchOption = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Engines at once; default: one a GPU, else one a machine.", min=1)
    ] = None,
    part_pictures: Annotated[
        int, typer.Option("--part-pictures", help="Most pictures of a part, the unit of resuming.", min=1)
    ] = 256,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do parts with failures once more, too.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Ray cluster; default: RAY_ADDRESS, else a Ray of its own."),
    ] = None,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find objects in an archive of any size, on all GPUs, on Ray Data.

    Results are Parquet files in DIR/parts, a row a picture; a picture that fails is a row with its error, and the exit
    code is then 1. The same command run again, after an end of any kind, does only what is missing: a part is there
    whole or not at all. Ctrl-C leaves whole files. Needs the extra `batch`.
    """
    from azaion_batch.cluster import check_installed

    check_installed()
    settings = read_settings(
        set_, model=model, engine=engine, confidence=confidence, batch_size=batch_size, tiles=tiles
    )
    parsed_bands = parse_bands(bands)

    from azaion_batch.cluster import find_workers, running_ray
    from azaion_batch.documents import write_document
    from azaion_batch.job import parts_of, planned_job
    from azaion_batch.settings import BatchSettings, RunSettings
    from azaion_batch.sources.files import Search
    from azaion_batch.sources.finding import find_entries
    from azaion_batch.storage import Place
    from azaion_cli.detecting.batch_report import BatchReport
    from azaion_engine.scenes.files import SceneWishes

    wishes = SceneWishes(parsed_bands, gsd, scene_gsd)
    wishes.options(settings.tiles)  # refuses what no scene could follow
    kept = None if classes is None else tuple(name.strip() for name in classes.split(","))
    job_settings = BatchSettings.of(settings, classes=kept, every=every, scenes=wishes)
    run = RunSettings(workers, part_pictures, address=address, retry_failed=retry_failed)
    try:
        entries = list(find_entries(sources, Search(recursive, wishes, job_settings.limits)))
    except InvalidParameterError as error:
        raise typer.BadParameter(str(error), param_hint="SOURCES") from error
    planned = planned_job(Place.of(out), job_settings, run, entries)
    with planned as job, BatchReport(job, as_json=json_) as report:
        if job.left:
            with running_ray(_to_join(address)):
                for part in parts_of(job, find_workers(settings.engine, workers)):
                    report.add(part)
        if format_ != "parquet":
            write_document(job, format_, report.fail)
    return ExitCode.PICTURES_FAILED if report.incomplete else ExitCode.OK


def _to_join(address: str | None) -> str | None:
    """Returns the address of a cluster that was tried; None for a Ray of the job's own, other kinds as they are."""
    named = address or os.environ.get("RAY_ADDRESS")
    return named if not named or named == "local" or "://" in named else ready_to_join(named)
