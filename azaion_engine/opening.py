"""Opening: chooses and opens the engine of a model on this machine; TensorRT's plan is built once and kept."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.shared import wire
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.engines.tensorrt import api as tensorrt_api
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.engines.tensorrt.build.builder import BuildOptions
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.engines.tensorrt.reuse import engine_input, plan_key
from azaion_engine.errors import AzaionError, ConfigurationError, MissingDependencyError, ModelError
from azaion_engine.heads.choice import Choice, choose
from azaion_engine.model.file import ModelFile
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.labels import read_labels
from azaion_engine.plans.agreement import CONFIDENCE_OFF, Agreement
from azaion_engine.plans.store import CheckedPlan, PlanStore
from azaion_engine.samples import rows_of_samples, run_sample
from azaion_engine.settings import DetectorSettings
from azaion_engine.version import __version__

if TYPE_CHECKING:
    from azaion_engine.engines.tensorrt.engine import TensorRTEngine

logger = logging.getLogger(__name__)

_DECIDE = {
    *("engine", "batch_size", "height", "width", "precision", "optimization_level", "cache_dir", "threads"),
    *("head", "input", "task", "background", "class_offset"),
}
"""The settings that an engine depends on; the others may differ between clients of a shared engine."""


_COMPARED = 0.25
"""Confidence from which on the boxes of a new engine are compared with ONNX Runtime's."""


class OpenModel(NamedTuple):
    """A model whose engine is open.

    Attributes:
        name: Short name, for display.
        engine: Runs the model; the caller closes it.
        names: Class names by id.
        info: Properties of the model file.
    """

    name: str
    engine: InferenceEngine
    names: dict[int, str]
    info: ModelInfo


def open_model(settings: DetectorSettings, *, shared: bool = False, progress: BuildProgress | None = None) -> OpenModel:
    """Reads a model and its class names, and opens its engine.

    Args:
        settings: The configuration.
        shared: As in `Detector.open`.
        progress: Reports a build; ignored if the engine is shared.

    Raises:
        ConfigurationError: The settings need something that this machine does not have.
        ModelError: The model is not a detector, or not the one of `model_sha256`.
        EngineBuildError: TensorRT refused the model.
    """
    names = read_labels(settings.labels) if settings.labels else None  # fail before a build that may take minutes
    model = _read_model(settings)
    engine = open_shared_engine(model, settings) if shared else open_engine(model, settings, progress)
    try:
        return OpenModel(model.name, engine, model.info.names if names is None else names, model.info)
    except BaseException:
        engine.close()
        raise


def _read_model(settings: DetectorSettings) -> ModelFile:
    model = ModelFile.read(settings.model)
    if settings.model_sha256 not in (None, model.sha256):
        raise ModelError(
            f"{settings.model} is not the model that was deployed: its SHA-256 is {model.sha256}, expected "
            f"{settings.model_sha256}; put that file back, or deploy again to serve the new one"
        )
    return model


def open_engine(model: ModelFile, settings: DetectorSettings, progress: BuildProgress | None = None) -> InferenceEngine:
    """Opens the engine that the settings name; default: TensorRT if there is a GPU and TensorRT, else ONNX Runtime.

    A failed build on a GPU is an error: there is no silent fallback to the CPU, which is much slower.

    Raises:
        ConfigurationError: `engine: tensorrt` without a GPU or TensorRT; the message says what is missing.
        ModelError: The model is not a detector, or its head or its input form needs a key of the settings.
        EngineBuildError: TensorRT refused the model.
    """
    engine = _open_chosen(model, settings, recognise(model.info, settings), progress)
    _tell(engine, model.info, settings)
    return engine


def recognise(info: ModelInfo, settings: DetectorSettings) -> Choice:
    """Returns a model's head and input form as far as the file and the settings tell.

    Raises:
        ModelError: The model is not a detector, or its head or its input form needs a key of the settings.
    """
    _, height, width = info.resolve(1, settings.height, settings.width)
    return choose(info.signature(height, width), settings).checked()


def _settle(engine: InferenceEngine, info: ModelInfo, settings: DetectorSettings) -> None:
    """Runs a sample picture if the file leaves the choice open; before the engine prepares for the head and the form.

    Raises:
        AzaionError: The model is no detector; the engine is closed then.
    """
    if engine.choice.settled:
        return
    try:
        engine.choice = _choice_after_a_run(engine, info, settings)
    except BaseException:
        engine.close()
        raise


def _choice_after_a_run(engine: InferenceEngine, info: ModelInfo, settings: DetectorSettings) -> Choice:
    return choose(info.signature(*engine.get_input_shape()), settings, run_sample(engine)).checked()


def _tell(engine: InferenceEngine, info: ModelInfo, settings: DetectorSettings) -> None:
    """Logs what the model was recognised as, and the settings that it cannot follow."""
    choice = engine.choice
    logger.info("the model has %s; its input is %s", choice.family, choice.form.describe())
    for note in choice.notes:
        logger.warning("model: %s", note)
    for text in unfollowed(info, settings, engine):
        logger.warning("%s", text)


def unfollowed(info: ModelInfo, settings: DetectorSettings, engine: InferenceEngine) -> list[str]:
    """Returns, in words, the settings that the model cannot follow."""
    texts = []
    for key, used in zip(("height", "width"), engine.get_input_shape(), strict=True):
        wish = getattr(settings, key)
        if wish is not None and wish != used:
            texts.append(f"{key}: {wish} is not followed, the model's input is fixed to {used}")
    batch = engine.get_batch_size()
    if settings.batch_size is not None and settings.batch_size != batch:
        why = "is fixed to" if info.input.shape[0] > 0 else "was exported for"
        texts.append(f"batch_size: {settings.batch_size} is not followed, the model {why} {batch}")
    if not engine.choice.head.selective and settings.nms_iou is not None:
        texts.append("nms_iou is not followed: this model's head needs no suppression, or has done it")
    return texts


def _open_chosen(
    model: ModelFile, settings: DetectorSettings, choice: Choice, progress: BuildProgress | None
) -> InferenceEngine:
    if settings.engine != "onnx":
        from azaion_engine.engines.tensorrt.run.resources import LANES
        from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoders

        batch, height, width = engine_input(model.info, settings)
        with JpegDecoders(LANES, batch, (height, width)) as decoders:
            missing = missing_for_tensorrt()
            if not missing:
                engine = open_tensorrt(model, settings, progress, choice)
                _settle(engine, model.info, settings)
                engine.open_pictures(decoders)
                return engine
        if settings.engine == "tensorrt":
            raise ConfigurationError(f"engine: tensorrt cannot be used here: {missing}")
        logger.warning("using ONNX Runtime on the CPU: %s", missing)
    return _open_on_cpu(model, settings, choice)


def _open_on_cpu(model: ModelFile, settings: DetectorSettings, choice: Choice) -> OnnxEngine:
    engine = OnnxEngine(
        model.data,
        batch_size=settings.batch_size,
        height=settings.height,
        width=settings.width,
        threads=settings.threads,
        choice=choice,
    )
    _settle(engine, model.info, settings)
    return engine


def open_shared_engine(model: ModelFile, settings: DetectorSettings) -> SharedEngine:
    """Opens the engine in a host process, or connects to the host that runs it for other processes of this machine.

    Raises:
        AzaionError: As `open_engine`.
    """
    wanted = {
        "version": __version__,
        "wire": wire.VERSION,
        "model": model.sha256,
        "settings": settings.model_dump(mode="json", include=_DECIDE),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }

    def make_opener() -> partial[InferenceEngine]:
        _ = model.info  # read here while the host starts, and sent with the model
        return partial(open_engine, model, settings)

    # Kept for a host that is lost later: holds the model's hash, not the model.
    again = partial(_opener_of_file, settings.model_copy(update={"model_sha256": model.sha256}))
    return SharedEngine.open(make_opener, json.dumps(wanted), settings.engine != "onnx", again)


def _opener_of_file(settings: DetectorSettings) -> partial[InferenceEngine]:
    """Reads the model again; raises ModelError if the file is another one by now."""
    return partial(open_engine, _read_model(settings), settings)


def missing_for_tensorrt() -> str:
    """Returns why TensorRT cannot be used on this machine; empty if it can."""
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
        build=partial(_build_checked, model, settings, options, load, progress),
        load=load,
    )
    engine.origin = outcome
    return engine


def _build_checked(
    model: ModelFile,
    settings: DetectorSettings,
    options: BuildOptions,
    load: Callable[[bytes], InferenceEngine],
    progress: BuildProgress | None,
) -> bytes | CheckedPlan:
    """Builds a plan and compares its boxes with ONNX Runtime's; in FP32 if those of FP16 differ or cannot be compared.

    Some networks, as those of the DETR family, find other boxes in FP16: without a comparison nobody would know.
    """
    try:
        reference = _open_on_cpu(model, settings, recognise(model.info, settings))
    except AzaionError as error:  # e.g. an operator that only TensorRT has
        logger.warning(
            "the engine is built in FP32, because its boxes cannot be compared with ONNX Runtime's: %s", error
        )
        return engine_builder.build_plan(model.data, replace(options, precision="fp32"), progress)
    with reference:
        plan = engine_builder.build_plan(model.data, options, progress)
        least = _COMPARED - CONFIDENCE_OFF
        expected = rows_of_samples(reference, least)

        def agreement(plan: bytes, precision: str) -> Agreement:
            with load(plan) as engine:
                engine.choice = reference.choice  # which may have taken a run
                found = rows_of_samples(engine, least)
            named = f"{model.info.quantised}+{precision}" if model.info.quantised else precision
            made = Agreement.of(found, expected, named, _COMPARED, settings.build_tolerance_px)
            logger.log(logging.INFO if made.holds else logging.WARNING, "the engine in %s: %s", named, made)
            return made

        checked = CheckedPlan(plan, agreement(plan, options.precision))
        if checked.agreement.holds or options.precision != "fp16":
            return checked
        logger.warning("the engine is built in FP32 instead")
        plan = engine_builder.build_plan(model.data, replace(options, precision="fp32"), progress)
        return CheckedPlan(plan, agreement(plan, "fp32"))


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
