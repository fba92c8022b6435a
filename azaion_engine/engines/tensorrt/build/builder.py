"""Builder: `build_plan` builds a TensorRT plan from an ONNX model, for a GPU of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

from azaion_engine.cuda.context import CudaContext, cuda_context
from azaion_engine.cuda.gpu import gpu_available
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.api import TensorRT
from azaion_engine.engines.tensorrt.build.expand_gelu import expand_gelu
from azaion_engine.engines.tensorrt.build.fixed_size import fix_size
from azaion_engine.engines.tensorrt.build.mixed_precision import convert_to_mixed, widen_to_float32
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.engines.tensorrt.build.reduce_axes import inline_reduce_axes
from azaion_engine.engines.tensorrt.build.weak_typing import constrain_precision
from azaion_engine.errors import AzaionError, ConfigurationError, EngineBuildError, ModelError
from azaion_engine.model.info import ModelInfo
from azaion_engine.settings import DEFAULT_BATCH_SIZE, Precision, check_at_least_one

logger = logging.getLogger(__name__)

BUILD_RECIPE = 3
"""Part of every stored plan's key; raise it when the same ONNX file should give a different plan."""

WORKSPACE_SHARE = 0.9
"""Largest part of the GPU's memory that a layer's scratch space may take while TensorRT tries tactics."""


@dataclass(frozen=True)
class BuildOptions:
    """Options for building a plan.

    Attributes:
        batch_size: Largest batch of the profile where the model's batch is dynamic; the plan is optimised for it.
        height: Network input height in pixels where the model leaves it dynamic; None means its `imgsz`, else 1280.
        width: Network input width in pixels, likewise.
        precision: `fp16` uses FP16 on GPUs with fast FP16, and FP32 for the box head.
        device_id: CUDA index of the GPU to build for.
        optimization_level: 0 (fast build) to 5 (fast engine); None means TensorRT's default, 3.
    """

    batch_size: int = DEFAULT_BATCH_SIZE
    height: int | None = None
    width: int | None = None
    precision: Precision = "fp16"
    device_id: int = 0
    optimization_level: int | None = None

    def __post_init__(self) -> None:
        check_at_least_one(batch_size=self.batch_size, height=self.height, width=self.width)
        if self.precision not in (known := get_args(Precision)):
            raise ConfigurationError(f"precision must be one of {', '.join(known)}, given {self.precision!r}")
        if self.optimization_level not in (None, *range(6)):
            raise ConfigurationError(f"optimization_level must be 0 to 5, given {self.optimization_level}")


def build_plan(onnx_model: bytes, options: BuildOptions | None = None, progress: BuildProgress | None = None) -> bytes:
    """Builds a TensorRT plan; takes seconds to many minutes and logs its progress at least every 10 s.

    Args:
        onnx_model: The ONNX file of a detector.
        options: Batch, size and precision; default `BuildOptions()`.
        progress: Receives and logs every stage; must not be started yet.

    Returns:
        The serialised plan, without any header.

    Raises:
        ModelError: Not an ONNX file, or it takes no pictures.
        EngineBuildError: TensorRT refused the model; carries the parser's errors and the nodes they name.
            Also any other failure, with its cause.
        ConfigurationError: This process sees no such GPU; only TensorRT-RTX builds without one.
        MissingDependencyError: TensorRT is not installed, or PyCUDA where the build needs the GPU.
    """
    try:
        return _build(onnx_model, options or BuildOptions(), progress or BuildProgress())
    except AzaionError:
        raise
    except Exception as error:  # the FP16 converter, pybind11 and PyCUDA raise their own errors
        raise EngineBuildError(f"the engine cannot be built: {type(error).__name__}: {error}") from error


def _build(onnx_model: bytes, options: BuildOptions, progress: BuildProgress) -> bytes:
    import onnx

    info = ModelInfo.from_onnx(onnx_model)
    trt = installed.load()
    # Only a strongly typed network computes in the 8-bit floats that Q/DQ nodes give.
    strong = trt.strongly_typed or info.quantised == "fp8"
    with progress, _on_gpu(trt, options.device_id) as context:
        progress.stage(f"loading the builder of {trt.flavour} {trt.version}; this is done once and may take minutes")
        with progress.spoken_elsewhere():  # TensorRT 8.6 holds the GIL meanwhile
            builder = trt.create_builder()
        half = options.precision == "fp16" and trt.has_fast_fp16(builder)
        if options.precision == "fp16" and not half:
            logger.warning("this GPU has no fast FP16, building in FP32")

        progress.stage("preparing the model")
        model = onnx.load_model_from_string(onnx_model)
        fix_size(model, info, *info.resolve(1, options.height, options.width)[1:])
        widen_to_float32(model)
        if not trt.reads_opset_20:
            inline_reduce_axes(model)
            expand_gelu(model)
        if half and strong:
            model = convert_to_mixed(model)

        progress.stage("parsing the model")
        network = trt.create_network(builder, strongly_typed=strong)
        names = [f"{node.name or f'#{index}'} ({node.op_type})" for index, node in enumerate(model.graph.node)]
        parser = trt.parse(network, model.SerializeToString(), names)
        if network.num_outputs < 1:
            raise ModelError("the model has no output")

        config = trt.create_config(builder, _workspace(context), options.optimization_level, progress)
        _add_profile(builder, network, config, options)
        if not strong:
            _set_precision(trt, network, config, half)
            if info.quantised:
                config.set_flag(trt.module.BuilderFlag.INT8)

        eight = f"{info.quantised.upper()} and " if info.quantised else ""
        progress.stage(f"choosing kernels for {eight}{'FP16' if half else 'FP32'}")
        plan = trt.build(builder, network, config)
        del parser
        logger.info("built a TensorRT engine of %.1f MB in %.0f s", len(plan) / 1e6, progress.elapsed_s)
        return plan


def convert_from_onnx(onnx_model: bytes) -> bytes | None:
    """Builds a plan with default options; logs an error instead of raising it.

    Args:
        onnx_model: The ONNX file.

    Returns:
        The serialised plan, or None.
    """
    try:
        return build_plan(onnx_model)
    except Exception as error:  # must return None after any error
        logger.exception("cannot convert the ONNX model: %s", error)
        return None


@contextmanager
def _on_gpu(trt: TensorRT, device_id: int) -> Iterator[CudaContext | None]:
    """Makes the GPU's context current; yields None without a GPU, where only TensorRT-RTX can build."""
    if trt.flavour == "tensorrt_rtx" and not gpu_available():
        yield None
        return
    context = cuda_context(device_id)
    with context.active():
        yield context


def _workspace(context: CudaContext | None) -> int | None:
    if context is None:
        return None
    free, total = context.memory_bytes()
    return min(int(total * WORKSPACE_SHARE), free)


def _add_profile(builder: Any, network: Any, config: Any, options: BuildOptions) -> None:
    picture = network.get_input(0)
    batch, *rest = (int(size) for size in picture.shape)
    if batch >= 0:
        if batch != options.batch_size:
            logger.info("the model's batch is fixed to %d, batch_size %d is ignored", batch, options.batch_size)
        return
    largest = (options.batch_size, *rest)
    profile = builder.create_optimization_profile()
    # Optimised for the full batch: it decides throughput, and a single picture is fast enough anyway.
    profile.set_shape(picture.name, (1, *rest), largest, largest)
    if config.add_optimization_profile(profile) < 0:
        raise EngineBuildError(f"TensorRT refuses a profile of 1 to {options.batch_size} pictures of {rest}")


def _set_precision(trt: TensorRT, network: Any, config: Any, half: bool) -> None:
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    # FP16 inputs and outputs need the FP16 flag even in an FP32 engine; then every layer is constrained to FP32.
    if half or any(tensor.dtype == trt.module.DataType.HALF for tensor in tensors):
        held = constrain_precision(trt.module, network, config, everything=not half)
        logger.debug("%d of %d layers stay FP32: %s", len(held), network.num_layers, ", ".join(held))
