"""`azaion eval`: average precision of a model on labelled pictures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from azaion_cli.console import make_table, print_json, print_pairs, print_table, say, say_error
from azaion_cli.exit_codes import ExitCode
from azaion_cli.options import (
    BatchOption,
    EngineOption,
    ModelArgument,
    SetOption,
    VerboseOption,
    read_settings,
)
from azaion_cli.picture_bar import picture_bar

if TYPE_CHECKING:
    from azaion_engine.detector import Detector
    from azaion_engine.errors import PictureError
    from azaion_engine.evaluation.data_set import DataSet, LabelledPicture
    from azaion_engine.evaluation.score import Score, Scorer
    from azaion_engine.settings import DetectorSettings

_STDOUT = Path("-")

_CONFIDENCE = "confidence=0.001"
"""Default, before the user's own settings: as Ultralytics' `val`, low enough for the end of the curve."""


def eval_(
    data: Annotated[
        Path, typer.Option("--data", help="Folder, data.yaml (YOLO labels), or .json file (COCO annotations).")
    ],
    model: ModelArgument = "demo",
    engine: EngineOption = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Part of the data; default: val where there are parts.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Take the first N pictures only.", min=1)] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            "--pictures", help="Folder of the pictures of COCO annotations; default: looked for.", exists=True
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Ids or names of the model's classes to score; default: all.")
    ] = None,
    by_id: Annotated[bool, typer.Option("--by-id", help="Compare class ids, whatever the names are.")] = False,
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence", "-c", help="Threshold, 0 to 1; default 0.001, to see the whole curve.", min=0, max=1
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option("--max-detections", help="Boxes of a picture that count, the surest ones; default 300.", min=1),
    ] = None,
    batch_size: BatchOption = None,
    set_: SetOption = None,
    json_: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Also write JSON there; - writes it to stdout, in place of the text."
        ),
    ] = None,
    verbose: VerboseOption = False,
) -> int:
    """Measure mean average precision (mAP) on labelled pictures, with the engine at hand.

    The measure is COCO's, through pycocotools. Pictures that fail are named on stderr and not scored: the exit code is
    then 1, as it is when nothing could be scored.
    """
    from azaion_engine.errors import InvalidParameterError
    from azaion_engine.evaluation.reader import read_data_set
    from azaion_engine.evaluation.score import Scorer, require_pycocotools
    from azaion_engine.files.safe_output import SafeOutput

    if json_ not in (None, _STDOUT) and not json_.absolute().parent.is_dir():
        raise typer.BadParameter(f"no such folder: {str(json_.parent)!r}", param_hint="'--json'")
    given = {"model": model, "engine": engine, "confidence": confidence, "max_detections": max_detections}
    defaults = [_CONFIDENCE] if confidence is None else []
    settings = read_settings([*defaults, *(set_ or ())], batch_size=batch_size, **given)
    require_pycocotools()  # before the engine is built, which may take minutes
    try:
        labelled = read_data_set(Path(os.path.expanduser(data)), split=split, limit=limit, pictures=pictures)
    except InvalidParameterError as error:
        raise typer.BadParameter(str(error), param_hint="'--data'") from error
    written = SafeOutput([settings.model, data, *(one.path for one in labelled.pictures)], overwrite=True)
    if json_ not in (None, _STDOUT):
        written.plan(json_)

    from azaion_cli.live_build import build_progress
    from azaion_engine.detector import Detector
    from azaion_engine.evaluation.classes import match_classes

    with Detector.open(settings, progress=build_progress()) as detector:
        only = detector.class_ids(classes.split(",")) if classes is not None else None
        matched = match_classes(labelled, detector.names, by_id=by_id, only=only)
        notes = [*labelled.notes, *matched.notes]
        if detector.engine.choice.head.oriented:
            notes.append("oriented boxes: the upright boxes around them are compared, their angles are not")
        if detector.engine.choice.head.keypoints:
            notes.append("a pose model: its boxes are compared, their keypoints are not")
        for note in notes:
            say(f"note: {note}")
        scorer = Scorer(matched, max_detections=settings.max_detections)
        detector.warm_up()
        run = _Run(as_json=json_ is not None)
        run.over(labelled, detector, scorer)
    result = {
        **_setting(detector, settings, labelled),
        "confidence": settings.confidence,
        "max_detections": settings.max_detections,
        **_scores(scorer.score()),
        "failed": run.failures,
        "seconds": round(run.seconds, 3),
        "pictures_per_s": round(run.answered / run.seconds, 2) if run.seconds else None,
        "notes": notes,
    }
    if json_ == _STDOUT:
        print_json(result)
    else:
        _show(result)
        if json_ is not None:
            written.write(json_, (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode())
    if result["map50"] is None:
        why = "no picture that was answered has a label of these classes"
        say_error("nothing_scored", f"nothing could be scored: {why}", as_json=json_ is not None)
    return ExitCode.PICTURES_FAILED if run.failures or result["map50"] is None else ExitCode.OK


class _Run:
    """One pass over the pictures.

    Attributes:
        answered: Pictures that were scored.
        failures: The others, with their errors.
        seconds: Duration, from the first picture's file to the last one's boxes.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.answered = 0
        self.failures: list[dict[str, str]] = []
        self.seconds = 0.0

    def over(self, data: DataSet, detector: Detector, scorer: Scorer) -> None:
        from azaion_engine.errors import PictureError
        from azaion_engine.system.cores import available_cores

        begun = time.perf_counter()
        loads = (picture.load for picture in data.pictures)
        with picture_bar(lambda: len(data.pictures), results_on_stdout=False) as advance:
            found = detector.detect_each(loads, threads=available_cores())
            for picture, result in zip(data.pictures, found, strict=True):
                try:
                    if isinstance(result, PictureError):
                        raise result
                    scorer.add(picture, result)
                    self.answered += 1
                except PictureError as error:
                    self._fail(picture, error)
                advance()
        self.seconds = time.perf_counter() - begun

    def _fail(self, picture: LabelledPicture, error: PictureError) -> None:
        self.failures.append({"picture": picture.name, "code": error.code, "message": str(error)})
        say_error(error.code, f"{picture.name}: {error}", as_json=self._as_json)


def _setting(detector: Detector, settings: DetectorSettings, data: DataSet) -> dict[str, Any]:
    engine = detector.engine
    return {
        "model": detector.model_name,
        "engine": engine.name,
        "precision": settings.precision if engine.name.startswith("tensorrt") else None,
        "input": list(engine.get_input_shape()),
        "data": {"path": str(data.path), "format": data.format, "split": data.split or None},
    }


def _scores(score: Score) -> dict[str, Any]:
    """Returns a score as JSON has it: to 4 decimals."""

    def rounded(values: dict[str, Any]) -> dict[str, Any]:
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}

    return {**rounded(asdict(score)), "classes": [rounded(asdict(one)) for one in score.classes]}


def _show(result: dict[str, Any]) -> None:
    height, width = result["input"]
    precision = f" {result['precision']}" if result["precision"] else ""
    split = f", split {result['data']['split']}" if result["data"]["split"] else ""
    failed = f", {len(result['failed'])} failed" if result["failed"] else ""
    print_pairs(
        [
            ("model", f"{result['model']}, {result['engine']}{precision}, input {height}x{width}"),
            ("data", f"{result['data']['path']}, {result['data']['format']}{split}"),
            ("pictures", f"{result['pictures']} in {result['seconds']:.1f} s ({result['pictures_per_s']}/s){failed}"),
        ]
    )
    print()
    columns = ("labels", "pictures", "AP50", "AP50-95")
    table = make_table("class", *columns, right=columns)
    for row in _rows(result):
        table.add_row(*row)
    print_table(table)
    print()
    print_pairs(
        [
            (name, _decimal(result[key]))
            for name, key in (("mAP50-95", "map50_95"), ("mAP50", "map50"), ("mAP75", "map75"))
        ]
    )


def _rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for one in result["classes"]:
        yield one["name"], str(one["labels"]), str(one["pictures"]), _decimal(one["ap50"]), _decimal(one["ap50_95"])
    yield "all", str(result["labels"]), str(result["pictures"]), _decimal(result["map50"]), _decimal(result["map50_95"])


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
