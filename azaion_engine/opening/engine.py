"""Opening an engine in this process: TensorRT where it can be used, else ONNX Runtime."""

from __future__ import annotations

import logging

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.engines.tensorrt.reuse import engine_input
from azaion_engine.errors import ConfigurationError
from azaion_engine.heads.choice import Choice
from azaion_engine.model.file import ModelFile
from azaion_engine.opening.on_cpu import open_on_cpu
from azaion_engine.opening.recognition import recognise, settle, tell
from azaion_engine.opening.tensorrt import missing_for_tensorrt, open_tensorrt
from azaion_engine.settings import DetectorSettings

logger = logging.getLogger(__name__)


def open_engine(
    model: ModelFile, settings: DetectorSettings, progress: BuildProgress | None = None, cpu_lanes: int = 1
) -> InferenceEngine:
    """Opens the engine that the settings name; default: TensorRT if there is a GPU and TensorRT, else ONNX Runtime.

    A failed build on a GPU is an error: there is no silent fallback to the CPU, which is much slower.

    Args:
        model: The model.
        settings: The configuration.
        progress: Reports a build.
        cpu_lanes: `lanes` of ONNX Runtime's engine.

    Raises:
        ConfigurationError: `engine: tensorrt` without a GPU or TensorRT; the message says what is missing.
        ModelError: The model is not a detector, or its head or its input form needs a key of the settings.
        EngineBuildError: TensorRT refused the model.
    """
    engine = _open_chosen(model, settings, recognise(model.info, settings), progress, cpu_lanes)
    tell(engine, model.info, settings)
    return engine


def _open_chosen(
    model: ModelFile, settings: DetectorSettings, choice: Choice, progress: BuildProgress | None, cpu_lanes: int
) -> InferenceEngine:
    if settings.engine != "onnx":
        from azaion_engine.engines.tensorrt.run.resources import LANES
        from azaion_engine.pictures.gpu.jpeg_decoder import JpegDecoders

        batch, height, width = engine_input(model.info, settings)
        with JpegDecoders(LANES, batch, (height, width)) as decoders:
            missing = missing_for_tensorrt()
            if not missing:
                engine = open_tensorrt(model, settings, progress, choice)
                settle(engine, model.info, settings)
                engine.open_pictures(decoders)
                return engine
        if settings.engine == "tensorrt":
            raise ConfigurationError(f"engine: tensorrt cannot be used here: {missing}")
        logger.warning("using ONNX Runtime on the CPU: %s", missing)
    return open_on_cpu(model, settings, choice, cpu_lanes)
