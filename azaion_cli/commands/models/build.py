"""`azaion build`: builds the TensorRT plan for this machine's GPU, with live progress."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from azaion_cli.console import megabytes, print_json
from azaion_cli.live_build import build_progress
from azaion_cli.options import (
    BatchOption,
    CacheOption,
    JsonOption,
    ModelArgument,
    SetOption,
    VerboseOption,
    read_settings,
)
from azaion_engine.errors import AzaionError, CacheError, ConfigurationError

if TYPE_CHECKING:
    from azaion_engine.model.file import ModelFile
    from azaion_engine.settings import DetectorSettings


def build(
    model: ModelArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the plan to this file, not into the cache.", dir_okay=False),
    ] = None,
    batch_size: BatchOption = None,
    precision: Annotated[Literal["fp16", "fp32"] | None, typer.Option("--precision", help="Default: fp16.")] = None,
    cache_dir: CacheOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Build the TensorRT engine of a model and keep it, as the server does at its first start.

    An engine that fits is not built again. Without a GPU, TensorRT-RTX alone builds, with --output.
    """
    settings = read_settings(set_, model=model, batch_size=batch_size, precision=precision, cache_dir=cache_dir)

    from azaion_engine.model.file import ModelFile

    file = ModelFile.read(settings.model)
    made = _to_file(file, settings, output) if output else _to_cache(file, settings)
    if json_:
        print_json(made)
    else:
        print(
            f"{made['action']} {made['path']} in {made['seconds']:.1f} s, {megabytes(made['bytes'])}: {made['reason']}"
        )


def _to_cache(file: ModelFile, settings: DetectorSettings) -> dict[str, Any]:
    from azaion_engine.opening.tensorrt import missing_for_tensorrt, open_tensorrt

    if missing := missing_for_tensorrt():
        raise ConfigurationError(
            f"an engine is built on the GPU that runs it: {missing}; `azaion doctor` says more, and TensorRT-RTX "
            "builds without a GPU with --output FILE"
        )
    with open_tensorrt(file, settings, build_progress()) as engine:
        outcome = engine.origin
    if outcome is None or outcome.path is None:
        raise CacheError("the engine was built but cannot be kept: free space there, or name another --cache-dir")
    return {
        "action": outcome.action,
        "path": str(outcome.path),
        "bytes": outcome.path.stat().st_size,
        "seconds": round(outcome.seconds, 3),
        "reason": outcome.reason,
    }


def _to_file(file: ModelFile, settings: DetectorSettings, output: Path) -> dict[str, Any]:
    from azaion_engine.engines.tensorrt.build.builder import build_plan
    from azaion_engine.engines.tensorrt.reuse import plan_key
    from azaion_engine.files.safe_output import SafeOutput
    from azaion_engine.opening.tensorrt import build_options
    from azaion_engine.plans.manifest import PlanManifest
    from azaion_engine.plans.stored_plan import StoredPlan

    if not output.parent.is_dir():  # checked before the build, which takes minutes
        raise typer.BadParameter(f"no such folder: {str(output.parent)!r}", param_hint="'--output'")
    written = SafeOutput([settings.model], overwrite=True)
    written.plan(output)
    begun = time.monotonic()
    plan = build_plan(file.data, build_options(file.info, settings), build_progress())
    seconds = time.monotonic() - begun
    written.write(output, plan)
    with suppress(AzaionError):  # the manifest names the GPU; TensorRT-RTX can build without one
        manifest = PlanManifest.of_plan(plan_key(file.info, settings), plan, seconds)
        written.write(StoredPlan(output).manifest_path, manifest.to_json())
    return {
        "action": "built",
        "path": str(output),
        "bytes": len(plan),
        "seconds": round(seconds, 3),
        "reason": "asked for by --output",
    }
