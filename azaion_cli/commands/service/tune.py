"""`azaion tune`: finds a model's best settings on this host and writes the configuration that has them."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from azaion_cli.checks.preflight import require_ray
from azaion_cli.commands.service.serve import application_args
from azaion_cli.commands.service.serve_config import serve_config
from azaion_cli.console import print_json, print_pairs, print_table, say
from azaion_cli.exit_codes import ExitCode
from azaion_cli.options import EngineOption, JsonOption, ModelOption, VerboseOption
from azaion_cli.tuning.candidates import Grid, Host
from azaion_cli.tuning.measurement import choose
from azaion_cli.tuning.output import write_whole
from azaion_cli.tuning.report import conclusion, live_table, make_report, measurement_table
from azaion_cli.tuning.tuner import Tuner
from azaion_engine.errors import ConfigurationError


def tune(
    latency: Annotated[
        float, typer.Option("--latency", metavar="MS", help="Bound of the p99 latency over HTTP, ms.", min=0.001)
    ],
    model: ModelOption = "demo",
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the configuration goes.", dir_okay=False)] = Path(
        "serve_config.yaml"
    ),
    engine: EngineOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="Encoded picture to send; default: a sample scaled to the model's input.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of one load.", min=0.5)] = 5.0,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="MINUTES", help="End after this time with the best so far.", min=0.01),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the configuration; it is then not varied."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the candidates and the time.")] = False,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find a model's best settings on this host: the most pictures a second whose p99 latency keeps a bound.

    Each candidate is served by `azaion serve` in a Ray of its own and loaded by 1, 2, 4 … clients, until the rate no
    longer grows by 3 % or the p99 passes the bound; every answer is checked. The clients share the host's cores.
    """
    require_ray()
    from azaion_engine.model.file import ModelFile
    from azaion_engine.settings import DetectorSettings

    args = application_args(model, engine, set_)
    if "autoscale" in args:
        raise typer.BadParameter("a fixed number of replicas is measured, leave autoscale out", param_hint="'--set'")
    _check_output(out, force=force or dry_run)
    host, info = _host(args), ModelFile.read(args["model"]).info
    grid = Grid.of(host, info.input.shape[0], args)
    if dry_run:
        _show_grid(grid, seconds, as_json=json_)
        return ExitCode.OK
    settings = DetectorSettings(**{key: args[key] for key in args.keys() & DetectorSettings.model_fields.keys()})
    _, height, width = info.resolve(1, settings.height, settings.width)
    tuner = Tuner(
        host=host,
        grid=grid,
        args=args,
        settings=settings,
        picture=picture.read_bytes() if picture else scaled_sample(width, height),
        latency_ms=latency,
        seconds=seconds,
        make_config=_config,
        deadline=time.monotonic() + 60 * budget if budget else math.inf,
    )
    say(f"at most {grid.services} services, about {_minutes(grid, seconds)}")
    complete = False
    try:
        with live_table(tuner):
            complete = tuner.run()
    finally:  # an interrupt too shows what was measured
        if json_:
            print_json(make_report(tuner, is_complete=complete))
        else:
            print_table(measurement_table(tuner))
    if not complete:
        say("the budget is spent before all candidates were measured", "yellow")
    return _conclude(tuner, out, force=force)


def scaled_sample(width: int, height: int) -> bytes:
    """Returns the first sample picture as a JPEG that fills the network's input on one side, in pixels."""
    import cv2

    from azaion_engine.model.file import sample_picture
    from azaion_engine.pictures.codec import decode, encode_jpeg
    from azaion_engine.pictures.letterbox import Letterbox

    sample = decode(sample_picture())
    fitted = Letterbox.fit(sample.shape[1], sample.shape[0], height, width)
    size = (fitted.resized_width, fitted.resized_height)
    return encode_jpeg(cv2.resize(sample, size, interpolation=cv2.INTER_AREA))


def _check_output(out: Path, *, force: bool) -> None:
    """Refuses, before minutes of measuring, what could not be written after them."""
    if out.exists() and not force:
        raise typer.BadParameter(f"{str(out)!r} exists; --force replaces it", param_hint="'--out'")
    if not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"no such folder: {str(out.absolute().parent)!r}", param_hint="'--out'")


def _host(args: dict[str, Any]) -> Host:
    """Returns what this machine has for a service with these arguments.

    Raises:
        ConfigurationError: TensorRT is required, and it or a GPU is missing.
    """
    from azaion_engine.opening.tensorrt import missing_for_tensorrt
    from azaion_engine.system.cores import available_cores

    engine, wanted = args.get("engine", "auto"), args.get("num_gpus", "auto")
    missing = "" if engine != "onnx" and wanted != 0 else "the CPU is asked for"
    missing = missing or missing_for_tensorrt()
    if missing:
        if engine == "tensorrt":
            raise ConfigurationError(f"engine: tensorrt cannot be used here: {missing}")
        return Host(available_cores())
    from azaion_engine.cuda.context import load_driver
    from azaion_engine.cuda.gpu import describe_gpu

    there = int(load_driver().Device.count())
    return Host(available_cores(), there if wanted == "auto" else min(there, wanted), describe_gpu(0).name)


def _config(args: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(serve_config("127.0.0.1", 8000, None, args))
    return config


def _minutes(grid: Grid, seconds: float) -> str:
    builds = ", most of it for building engines that are not built yet" if grid.on_gpu else ""
    return f"{max(1, round(grid.estimate_s(seconds) / 60))} min{builds}"


def _show_grid(grid: Grid, seconds: float, *, as_json: bool) -> None:
    key = "replicas_per_gpu" if grid.on_gpu else "cpu_replicas"
    if as_json:
        estimate = {"services": grid.services, "estimated_s": round(grid.estimate_s(seconds))}
        print_json({key: grid.replicas, "batch_size": grid.batch_sizes, **estimate})
        return
    sizes = ", ".join("the model's" if size is None else str(size) for size in grid.batch_sizes)
    print_pairs(
        [
            (key, ", ".join(map(str, grid.replicas))),
            ("batch_size", sizes + (", of which the engine alone sorts out all but two" if grid.sorts else "")),
            ("services", f"at most {grid.services}: the replicas first, then the other batch size"),
            ("time", f"about {_minutes(grid, seconds)}"),
        ]
    )


def _conclude(tuner: Tuner, out: Path, *, force: bool) -> int:
    """Writes the chosen configuration and returns the exit code.

    Raises:
        ConfigurationError: No candidate could be measured.
    """
    choice = choose(tuner.measurements, tuner.latency_ms)
    if choice is None:
        reasons = [one.failure for one in tuner.measurements if one.failure]
        raise ConfigurationError(f"nothing could be measured: {reasons[0] if reasons else 'no answer without errors'}")
    told = conclusion(tuner, choice)
    config = serve_config("127.0.0.1", 8000, None, tuner.args_of(choice.measurement.candidate))
    try:
        write_whole(
            out, f"# Written by `azaion tune --latency {tuner.latency_ms:g}`: {told}\n\n{config}", replace=force
        )
    except FileExistsError as error:  # somebody wrote it meanwhile
        raise ConfigurationError(f"{str(out)!r} exists; --force replaces it. {told}") from error
    say(f"{told}; azaion serve {out}", None if choice.keeps_bound else "yellow")
    return ExitCode.OK if choice.keeps_bound else ExitCode.BOUND_MISSED
