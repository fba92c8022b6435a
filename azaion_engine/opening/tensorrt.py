"""Opening with TensorRT: the stored plan that fits, or a new one that is kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.build.builder import BuildOptions
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.engines.tensorrt.reuse import engine_input, plan_key
from azaion_engine.errors import MissingDependencyError
from azaion_engine.heads.choice import Choice
from azaion_engine.model.file import ModelFile
from azaion_engine.model.info import ModelInfo
from azaion_engine.opening.checked_build import build_checked
from azaion_engine.opening.recognition import recognise
from azaion_engine.plans.store import PlanStore
from azaion_engine.settings import DetectorSettings

if TYPE_CHECKING:
    from azaion_engine.engines.tensorrt.engine import TensorRTEngine


def missing_for_tensorrt() -> str:
    """Returns why TensorRT cannot be used on this machine; empty if it can."""
    from azaion_engine.cuda.gpu import gpu_available

    if not gpu_available():
        return (
            "no NVIDIA GPU that this process sees, or PyCUDA or its driver is missing "
            "(pip install 'azaion-engine[gpu]')"
        )
    try:
        installed.load()
    except MissingDependencyError as error:
        return str(error)
    return ""


def open_tensorrt(
    model: ModelFile,
    settings: DetectorSettings,
    progress: BuildProgress | None = None,
    choice: Choice | None = None,
) -> TensorRTEngine:
    """Opens the stored plan that fits, or builds and keeps one; the engine's `origin` says which.

    Args:
        model: The model file.
        settings: The configuration.
        progress: Reports a build.
        choice: Head and input form; default: recognised.

    Raises:
        EngineBuildError: TensorRT refused the model.
    """
    from azaion_engine.cuda.gpu import describe_gpu
    from azaion_engine.engines.tensorrt.engine import TensorRTEngine

    options = build_options(model.info, settings)
    load = partial(
        TensorRTEngine,
        batch_size=options.batch_size,
        height=options.height,
        width=options.width,
        choice=choice or recognise(model.info, settings),
    )
    engine, outcome = PlanStore(settings.cache_dir).get_or_build(
        model.name,
        describe_gpu(0).engine_filename,
        plan_key(model.info, settings),
        build=partial(build_checked, model, settings, options, load, progress),
        load=load,
    )
    engine.origin = outcome
    return engine


def build_options(info: ModelInfo, settings: DetectorSettings) -> BuildOptions:
    """Returns the options for building a model's plan under these settings."""
    batch, height, width = engine_input(info, settings)
    return BuildOptions(
        batch_size=batch,
        height=height,
        width=width,
        precision=settings.precision,
        optimization_level=settings.optimization_level,
    )
