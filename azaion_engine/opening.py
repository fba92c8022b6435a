"""Opening: which engine a model gets on the machine at hand; TensorRT's plan is built once and kept."""

from __future__ import annotations

import json
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.engines.tensorrt import api as tensorrt_api
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.engines.tensorrt.build.builder import BuildOptions
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.engines.tensorrt.reuse import engine_input, plan_key
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from azaion_engine.model.file import ModelFile
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.labels import read_labels
from azaion_engine.plans.store import PlanStore
from azaion_engine.settings import DetectorSettings
from azaion_engine.version import __version__

if TYPE_CHECKING:
    from azaion_engine.engines.tensorrt.engine import TensorRTEngine

logger = logging.getLogger(__name__)

_DECIDE = {"engine", "batch_size", "height", "width", "precision", "optimization_level", "cache_dir", "threads"}
"""The settings that an engine depends on; those of the pictures are each client's own."""


class OpenModel(NamedTuple):
    """A model whose engine is open.

    Attributes:
        name: Short name, for people.
        engine: Runs it; whoever asked closes it.
        names: Class names by id.
        info: What the model file says of itself.
    """

    name: str
    engine: InferenceEngine
    names: dict[int, str]
    info: ModelInfo


def open_model(settings: DetectorSettings, *, shared: bool = False, progress: BuildProgress | None = None) -> OpenModel:
    """Reads a model and its class names, and opens its engine.

    Args:
        settings: The configuration.
        shared: As for `Detector.open`.
        progress: Told of the build, if there is one and the engine is not shared.

    Raises:
        ConfigurationError: The settings ask for what this machine cannot give.
        ModelError: The model is no detector.
        EngineBuildError: TensorRT refused the model.
    """
    names = read_labels(settings.labels) if settings.labels else None  # before a build that may take minutes
    model = ModelFile.read(settings.model)
    engine = open_shared_engine(model, settings) if shared else open_engine(model, settings, progress)
    return OpenModel(model.name, engine, model.info.names if names is None else names, model.info)


def open_engine(model: ModelFile, settings: DetectorSettings, progress: BuildProgress | None = None) -> InferenceEngine:
    """Opens TensorRT where there is a GPU and TensorRT, else ONNX Runtime, or just what the settings ask for.

    A GPU whose engine cannot be built is an error, not a silent fall to the CPU at a fraction of the rate.

    Raises:
        ConfigurationError: `engine: tensorrt` without a GPU or without TensorRT; says what is missing.
        ModelError: The model is no detector.
        EngineBuildError: TensorRT refused the model.
    """
    if settings.engine != "onnx":
        from azaion_engine.engines.tensorrt.run.resources import LANES
        from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoders

        batch, height, width = engine_input(model.info, settings)
        with JpegDecoders(LANES, batch, (height, width)) as decoders:
            missing = missing_for_tensorrt()
            if not missing:
                engine = open_tensorrt(model, settings, progress)
                engine.open_pictures(decoders)
                return engine
        if settings.engine == "tensorrt":
            raise ConfigurationError(f"engine: tensorrt cannot be used here: {missing}")
        logger.warning("using ONNX Runtime on the CPU: %s", missing)
    return OnnxEngine(
        model.data,
        batch_size=settings.batch_size,
        height=settings.height,
        width=settings.width,
        threads=settings.threads,
    )


def open_shared_engine(model: ModelFile, settings: DetectorSettings) -> SharedEngine:
    """Opens the engine in a process of its own, or joins the one that runs it for other processes of this host.

    Raises:
        AzaionError: As of `open_engine`.
    """
    wanted = {
        "version": __version__,
        "model": model.sha256,
        "settings": settings.model_dump(mode="json", include=_DECIDE),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }

    def make_opener() -> partial[InferenceEngine]:
        _ = model.info  # read while the host starts, and sent along
        return partial(open_engine, model, settings)

    return SharedEngine.open(make_opener, json.dumps(wanted), on_gpu=settings.engine != "onnx")


def missing_for_tensorrt() -> str:
    """Says what keeps TensorRT from being used here; empty when nothing does."""
    from azaion_engine.cuda.gpu import gpu_available

    if not gpu_available():
        return (
            "no NVIDIA GPU that this process sees, or PyCUDA or its driver is missing "
            "(pip install 'azaion-engine[gpu]')"
        )
    try:
        tensorrt_api.load()
    except MissingDependencyError as error:
        return str(error)
    return ""


def open_tensorrt(
    model: ModelFile, settings: DetectorSettings, progress: BuildProgress | None = None
) -> TensorRTEngine:
    """Opens the stored engine that fits, or builds and keeps it; its `origin` says which.

    Raises:
        EngineBuildError: TensorRT refused the model.
    """
    from azaion_engine.cuda.gpu import describe_gpu
    from azaion_engine.engines.tensorrt.engine import TensorRTEngine

    options = build_options(model.info, settings)
    engine, outcome = PlanStore(settings.cache_dir).get_or_build(
        model.name,
        describe_gpu(0).engine_filename,
        plan_key(model.info, settings),
        build=partial(engine_builder.build_plan, model.data, options, progress),
        load=partial(TensorRTEngine, batch_size=options.batch_size, height=options.height, width=options.width),
    )
    engine.origin = outcome
    return engine


def build_options(info: ModelInfo, settings: DetectorSettings) -> BuildOptions:
    """Returns how a model's engine is built under these settings."""
    batch, height, width = engine_input(info, settings)
    return BuildOptions(
        batch_size=batch,
        height=height,
        width=width,
        precision=settings.precision,
        optimization_level=settings.optimization_level,
    )
