"""open_engine: the best engine for a model on the machine at hand, TensorRT's plan built once and kept."""

from __future__ import annotations

import logging
from functools import partial

from azaion_engine.engine_store import EngineStore
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from azaion_engine.inference_engine import DEFAULT_BATCH_SIZE, InferenceEngine
from azaion_engine.model_file import ModelFile
from azaion_engine.model_info import ModelInfo
from azaion_engine.onnx_engine import OnnxEngine
from azaion_engine.settings import DetectorSettings

logger = logging.getLogger(__name__)


def open_engine(model: ModelFile, info: ModelInfo, settings: DetectorSettings) -> InferenceEngine:
    """Opens TensorRT where there is a GPU and TensorRT, else ONNX Runtime, or just what the settings ask for.

    A GPU whose engine cannot be built is an error, not a silent fall to the CPU at a fraction of the rate.

    Raises:
        ConfigurationError: `engine: tensorrt` without a GPU or without TensorRT; says what is missing.
        EngineBuildError: TensorRT refused the model.
    """
    if settings.engine != "onnx":
        missing = _missing_for_tensorrt()
        if not missing:
            return _open_tensorrt(model, info, settings)
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


def _missing_for_tensorrt() -> str:
    """Says what keeps TensorRT from being used here; empty when nothing does."""
    from azaion_engine import tensorrt_api
    from azaion_engine.gpu import gpu_available

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


def _open_tensorrt(model: ModelFile, info: ModelInfo, settings: DetectorSettings) -> InferenceEngine:
    from azaion_engine import tensorrt_api
    from azaion_engine.engine_builder import BUILD_RECIPE, BuildOptions, build_plan
    from azaion_engine.engine_manifest import EngineKey
    from azaion_engine.gpu import describe_gpu
    from azaion_engine.tensorrt_engine import TensorRTEngine

    batch, height, width = info.resolve(settings.batch_size or DEFAULT_BATCH_SIZE, settings.height, settings.width)
    options = BuildOptions(
        batch_size=batch,
        height=height,
        width=width,
        precision=settings.precision,
        optimization_level=settings.optimization_level,
    )
    gpu, tensorrt = describe_gpu(0), tensorrt_api.load()
    key = EngineKey(
        model_sha256=info.sha256,
        tensorrt_flavour=tensorrt.flavor,
        tensorrt_version=tensorrt.version,
        precision=settings.precision,
        input_shape=(height, width),
        batch_profile=(batch if info.input.shape[0] > 0 else 1, batch, batch),
        optimization_level=settings.optimization_level,
        gpu_name=gpu.name,
        compute_capability=gpu.compute_capability,
        sm_count=gpu.sm_count,
        gpu_memory_gib=round(gpu.memory_bytes / 2**30),
        recipe=BUILD_RECIPE,
    )
    engine, outcome = EngineStore(settings.cache_dir).get_or_build(
        model.name,
        gpu.engine_filename,
        key,
        build=partial(build_plan, model.data, options),
        load=partial(TensorRTEngine, batch_size=batch, height=height, width=width),
    )
    engine.origin = outcome
    return engine
