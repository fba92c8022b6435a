"""`azaion quantize`: an INT8 or FP8 model with Q/DQ nodes, kept only if its answers stay within a tolerance."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from azaion_cli.console import make_table, print_json, print_table, say
from azaion_cli.options import (
    BatchOption,
    CacheOption,
    EngineOption,
    JsonOption,
    ModelArgument,
    SetOption,
    VerboseOption,
    read_settings,
)

if TYPE_CHECKING:
    from azaion_engine.detector import Detector
    from azaion_engine.errors import PictureError
    from azaion_engine.evaluation.data_set import DataSet
    from azaion_engine.quantisation.comparison import Comparison, Measured
    from azaion_engine.quantisation.modelopt import Format
    from azaion_engine.settings import DetectorSettings


def quantize(
    model: ModelArgument,
    pictures: Annotated[
        Path,
        typer.Option("--pictures", help="Folder of pictures like those to come.", exists=True, file_okay=False),
    ],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Labelled pictures, as `azaion eval` takes: YOLO or COCO.", exists=True),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; default: MODEL.int8.onnx beside the model.", dir_okay=False),
    ] = None,
    format_: Annotated[
        Literal["int8", "fp8"], typer.Option("--format", help="fp8 needs TensorRT 10 or later.")
    ] = "int8",
    limit: Annotated[int, typer.Option("--limit", help="Pictures to calibrate on, spread evenly.", min=1)] = 64,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            help="With labels: largest loss of mAP50, default 0.01. Without: largest share of FP32's boxes that are "
            "not found again, default 0.1.",
            min=0,
            max=1,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each measurement of a rate.", min=0.1)] = 3.0,
    by_id: Annotated[bool, typer.Option("--by-id", help="Compare class ids, whatever the names are.")] = False,
    engine: EngineOption = None,
    batch_size: BatchOption = None,
    cache_dir: CacheOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Quantise a model with NVIDIA ModelOpt, its head left out, and compare it with FP32 and FP16.

    On a GPU each precision is built and run by TensorRT; without one, FP32 and the quantised model run on ONNX Runtime.
    Beyond the tolerance nothing is written, and the exit code is 6.
    """
    settings = read_settings(set_, model=model, engine=engine, batch_size=batch_size, cache_dir=cache_dir)
    target = Path(os.path.expanduser(out)) if out else _default_target(settings.model, format_)
    if not target.absolute().parent.is_dir():  # checked before minutes of work
        raise typer.BadParameter(f"no such folder: {str(target.parent)!r}", param_hint="'--out'")

    from azaion_engine.files.safe_output import SafeOutput
    from azaion_engine.quantisation.calibration import spread
    from azaion_engine.quantisation.comparison import Comparison
    from azaion_engine.quantisation.modelopt import require_modelopt

    require_modelopt()
    labelled = _read_labels(labels) if labels else None
    chosen = spread(_pictures_in(pictures), limit)
    written = SafeOutput([settings.model, *chosen], overwrite=True)
    written.plan(target)
    comparison = Comparison(
        chosen, labelled, tolerance_px=settings.build_tolerance_px, seconds=seconds, by_id=by_id, failed=_say_skipped
    )
    with tempfile.TemporaryDirectory(prefix="azaion-quantize-") as folder:
        made = Path(folder) / target.name  # the same stem: the engine that is built of it is found again
        skipped = _run(comparison, settings, chosen, made, format_)
        if json_:
            print_json(_result(comparison, settings, target, chosen, skipped))
        else:
            _show(comparison.measured)
        comparison.check(tolerance)
        written.write(target, made.read_bytes())
    if not json_:
        print(f"\nwrote {target}")


def _run(
    comparison: Comparison, settings: DetectorSettings, chosen: list[Path], made: Path, format_: Format
) -> list[str]:
    """Measures FP32, FP16 on a GPU, and the quantised model, which it writes; returns the pictures skipped."""
    from azaion_cli.live_build import build_progress
    from azaion_engine.detector import Detector
    from azaion_engine.model.file import ModelFile
    from azaion_engine.pictures.header import PictureLimits
    from azaion_engine.quantisation.calibration import CalibrationPictures
    from azaion_engine.quantisation.modelopt import quantise

    def opened(precision: str, **more: Any) -> Detector:
        say(f"{precision}: measuring")
        return Detector.open(settings, progress=build_progress(), precision="fp16", **more)

    file = ModelFile.read(settings.model)
    say("fp32: measuring")
    with Detector.open(settings, progress=build_progress(), precision="fp32") as detector:
        comparison.measure(detector, "fp32")
        size, form = detector.engine.get_input_shape(), detector.engine.choice.form
        on_gpu = detector.engine.name.startswith("tensorrt")
    if on_gpu:
        with opened("fp16") as detector:
            comparison.measure(detector, "fp16")
    calibration = CalibrationPictures(
        chosen,
        file.info.input.name,
        size,
        form,
        batch=None if file.info.unbatched else max(1, file.info.input.shape[0]),
        limits=PictureLimits(settings.max_picture_bytes, settings.max_picture_pixels),
        told=lambda path, error: _say_skipped(str(path), error),
    )
    say(f"calibrating {format_} on pictures of {size[1]}x{size[0]}, which may take minutes")
    made.write_bytes(quantise(file.data, calibration, size, format_))
    with opened(format_, model=str(made)) as detector:
        comparison.measure(detector, format_)
    return [str(path) for path in calibration.skipped]


def _default_target(model: str, format_: str) -> Path:
    path = Path(os.path.expanduser(model))
    return path.with_name(f"{path.stem}.{format_}.onnx")


def _pictures_in(folder: Path) -> list[Path]:
    from azaion_engine.files.sources import find_sources

    sources = find_sources([str(folder)], recursive=True)
    found = [Path(one.path) for one in sources if not one.is_video and one.unreadable is None]
    if not found:
        raise typer.BadParameter(f"no picture in {str(folder)!r}", param_hint="'--pictures'")
    return found


def _read_labels(labels: Path) -> DataSet:
    from azaion_engine.errors import InvalidParameterError
    from azaion_engine.evaluation.reader import read_data_set
    from azaion_engine.evaluation.score import require_pycocotools

    require_pycocotools()
    try:
        labelled = read_data_set(Path(os.path.expanduser(labels)))
    except InvalidParameterError as error:
        raise typer.BadParameter(str(error), param_hint="'--labels'") from error
    for note in labelled.notes:
        say(f"note: {note}")
    return labelled


def _say_skipped(name: str, error: PictureError) -> None:
    say(f"skipped: {name}: {error}")


def _result(
    comparison: Comparison, settings: DetectorSettings, target: Path, chosen: list[Path], skipped: list[str]
) -> dict[str, Any]:
    rows = [{**asdict(one), "drift": one.drift.model_dump() if one.drift else None} for one in comparison.measured]
    calibrated = len(chosen) - len(skipped)
    return {"model": settings.model, "out": str(target), "calibrated": calibrated, "skipped": skipped, "rows": rows}


def _show(measured: list[Measured]) -> None:
    columns = ("batch", "pictures/s", "boxes", "corner px", "confidence", "mAP50", "mAP50-95")
    table = make_table("precision", "engine", *columns, right=columns)
    for one in measured:
        drift = one.drift
        cells = (
            (f"{drift.matched}/{drift.boxes}", f"{drift.largest_px:.2f}", f"{drift.largest_confidence:.3f}")
            if drift
            else ("-", "-", "-")
        )
        scores = ("-" if value is None else f"{value:.4f}" for value in (one.map50, one.map50_95))
        table.add_row(one.precision, one.engine, str(one.batch), f"{one.rate:.1f}", *cells, *scores)
    print_table(table)
