"""API of TensorRT: one interface to 8.6, 10, 11 and TensorRT-RTX; only this module knows their differences."""

from __future__ import annotations

import json
import logging
import re
import warnings
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from azaion_engine.engines.tensorrt.io_tensor import IoTensor
from azaion_engine.engines.tensorrt.log import TensorRTLog
from azaion_engine.engines.tensorrt.progress_monitor import Phases, make_monitor
from azaion_engine.errors import ConfigurationError, EngineBuildError, ModelError, PlanError

logger = logging.getLogger(__name__)

Flavour = Literal["tensorrt", "tensorrt_rtx"]

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}

_NOT_THE_PLANS_FAULT = re.compile(r"out of memory|could not be allocated|cuda (runtime|driver)", re.IGNORECASE)
"""TensorRT's messages about a GPU that is out of memory or fails: rebuilding the plan would not help."""


class TensorRT:
    """A loaded TensorRT module, with the same methods for every version.

    Attributes:
        module: The Python module, `tensorrt` or `tensorrt_rtx`.
        flavour: Name of the module.
        version: Version of the module, e.g. `8.6.0`.
        log: Receives the module's messages.
        strongly_typed: Whether precisions come from the ONNX model alone (11, RTX), not from builder flags (8.6, 10).
        reads_opset_20: Whether the parser knows Gelu and reads the axes of reductions from an input (TensorRT 10).
    """

    def __init__(self, module: Any, flavour: Flavour) -> None:
        """Wraps an imported module; use `installed.load`."""
        self.module = module
        self.flavour: Flavour = flavour
        self.version = str(module.__version__)
        self.log = TensorRTLog(module)
        self.strongly_typed = not hasattr(module.BuilderFlag, "FP16")
        self.reads_opset_20 = not self.version.startswith("8.")

    # --- building --------------------------------------------------------------------------------

    def create_builder(self) -> Any:
        """Makes a builder; takes seconds, because TensorRT loads its kernel library.

        Raises:
            EngineBuildError: No GPU, or a driver too old; carries TensorRT's messages.
        """
        mark = self.log.mark()
        try:
            builder = self.module.Builder(self.log.ilogger)
        except Exception as error:  # pybind11 turns a null from the factory into a TypeError
            raise EngineBuildError(self._words(mark, f"TensorRT {self.version} gives no builder: {error}")) from error
        return builder

    def has_fast_fp16(self, builder: Any) -> bool:
        """Returns whether the GPU has fast FP16; every GPU that 11 and RTX support has."""
        return bool(getattr(builder, "platform_has_fast_fp16", True))

    def create_network(self, builder: Any, *, strongly_typed: bool = False) -> Any:
        """Makes an empty network with explicit batch; strongly typed where the version has no weak typing.

        Args:
            builder: From `create_builder`.
            strongly_typed: Whether it must be strongly typed, as 10 can choose; FP8 needs it.

        Raises:
            EngineBuildError: It must be, and this version (8.6) cannot.
        """
        flags = self.module.NetworkDefinitionCreationFlag
        strong = strongly_typed or self.strongly_typed
        if strong and not self.strongly_typed and not hasattr(flags, "STRONGLY_TYPED"):
            raise EngineBuildError(
                f"TensorRT {self.version} cannot compute in FP8: that needs TensorRT 10 or later; INT8 runs here"
            )
        wanted = ["STRONGLY_TYPED"] if strong else ["EXPLICIT_BATCH"]
        # EXPLICIT_BATCH is required in 8.6, has no effect in 10, and does not exist in 11 and RTX.
        bits = sum(1 << int(getattr(flags, name)) for name in wanted if hasattr(flags, name))
        return builder.create_network(bits)

    def parse(self, network: Any, onnx_model: bytes, node_names: list[str]) -> Any:
        """Fills the network from an ONNX model.

        Args:
            network: From `create_network`.
            onnx_model: The serialised model.
            node_names: Name and operator of each node, in order: TensorRT 8.6 reports nodes by index only.

        Returns:
            The parser. Keep it until the build is over: it owns the memory of the network's weights.

        Raises:
            EngineBuildError: Carries the parser's errors, each with the node it names.
        """
        mark = self.log.mark()
        parser = self.module.OnnxParser(network, self.log.ilogger)
        if parser.parse(onnx_model):
            return parser
        errors = [_parser_error(parser.get_error(i), node_names) for i in range(parser.num_errors)]
        for error in errors:
            logger.error("ONNX parser: %s", error)
        raise EngineBuildError(
            f"TensorRT {self.version} cannot read the model: {'; '.join(errors)}"
            if errors
            else self._words(mark, f"TensorRT {self.version} cannot read the model")
        )

    def create_config(
        self, builder: Any, workspace_bytes: int | None, optimization_level: int | None, progress: Phases | None
    ) -> Any:
        """Makes a builder configuration.

        Args:
            builder: From `create_builder`.
            workspace_bytes: Limit of a layer's scratch memory, in bytes; None means TensorRT's default, all GPU memory.
            optimization_level: 0 (fast build) to 5 (fast engine); None means TensorRT's default, 3.
            progress: Receives TensorRT's phases, where TensorRT has a progress monitor (10 and later).

        Raises:
            EngineBuildError: TensorRT returns no configuration.
        """
        mark = self.log.mark()
        config = builder.create_builder_config()
        if config is None:
            raise EngineBuildError(self._words(mark, "TensorRT gives no builder configuration"))
        if workspace_bytes is not None:
            config.set_memory_pool_limit(self.module.MemoryPoolType.WORKSPACE, workspace_bytes)
        if optimization_level is not None:
            config.builder_optimization_level = optimization_level
        # TF32's mantissa is as short as FP16's, so it would undo keeping layers in FP32.
        config.clear_flag(self.module.BuilderFlag.TF32)
        self._set_tactic_sources(config)
        self._share_profile(config)
        if progress is not None and hasattr(self.module, "IProgressMonitor"):
            config.progress_monitor = make_monitor(self.module, progress)
        return config

    def _set_tactic_sources(self, config: Any) -> None:
        # 8.6 tries cuBLAS and cuDNN by default. They load slowly, use GPU memory, and the installed ones need not be
        # genuine; a detector gains nothing from them. 10 does not use them by default.
        if not self.version.startswith("8."):
            return
        sources = self.module.TacticSource
        names = [name for name in ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS") if hasattr(sources, name)]
        if names:
            config.set_tactic_sources(sum(1 << int(getattr(sources, name)) for name in names))

    def _share_profile(self, config: Any) -> None:
        # Lets several execution contexts use one engine. From 10 on it is the default; later the flag is gone.
        feature = getattr(getattr(self.module, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
        if self.version.startswith("8.") and feature is not None:
            config.set_preview_feature(feature, True)

    def build(self, builder: Any, network: Any, config: Any) -> bytes:
        """Builds the plan; takes seconds to many minutes and releases the GIL.

        Raises:
            EngineBuildError: Carries TensorRT's messages.
        """
        mark = self.log.mark()
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineBuildError(self._words(mark, f"TensorRT {self.version} could not build the engine"))
        return bytes(plan)

    # --- running ---------------------------------------------------------------------------------

    def deserialize(self, plan: bytes) -> tuple[Any, Any]:
        """Deserialises a plan into (runtime, engine).

        Raises:
            PlanError: The plan is truncated, corrupt, or of another TensorRT or GPU; carries TensorRT's messages.
            ConfigurationError: The GPU is out of memory or fails; the plan may be good.
        """
        if not plan:
            raise PlanError("the plan is empty")
        mark = self.log.mark()
        try:
            runtime = self.module.Runtime(self.log.ilogger)
        except Exception as error:  # pybind11 turns a null from the factory into a TypeError
            raise ConfigurationError(self._words(mark, f"TensorRT {self.version} gives no runtime: {error}")) from error
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            words = self._words(mark, f"{self.flavour} {self.version} cannot use this plan of {len(plan)} bytes here")
            raise ConfigurationError(words) if _NOT_THE_PLANS_FAULT.search(words) else PlanError(words)
        return runtime, engine

    def scratch_bytes(self, engine: Any) -> int:
        """Returns the GPU memory that an execution needs besides inputs, outputs and weights, in bytes."""
        # device_memory_size_v2 exists from 10.1 on; 11 and RTX lack device_memory_size.
        size = getattr(engine, "device_memory_size_v2", None)
        return int(engine.device_memory_size if size is None else size)

    def create_execution_context(self, engine: Any, scratch: int, scratch_bytes: int) -> Any:
        """Makes an execution context in scratch memory of the caller, which contexts can use in turn.

        Args:
            engine: From `deserialize`.
            scratch: Address of GPU memory, aligned to 256 bytes.
            scratch_bytes: Its size, at least `scratch_bytes(engine)`.

        Raises:
            ConfigurationError: Usually not enough GPU memory; carries TensorRT's messages.
        """
        mark = self.log.mark()
        strategies = getattr(self.module, "ExecutionContextAllocationStrategy", None)
        context = (
            engine.create_execution_context(strategies.USER_MANAGED)
            if strategies is not None
            else engine.create_execution_context_without_device_memory()  # 8.6
        )
        if context is None:
            summary = "TensorRT gives no execution context for this plan, usually for want of GPU memory"
            raise ConfigurationError(self._words(mark, summary))
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(scratch, scratch_bytes)
        else:
            context.device_memory = scratch  # before 10.1
        return context

    def choose_profile(self, context: Any) -> bool:
        """Selects the only optimisation profile for a context; False if another context owns it (8.6)."""
        # The first context of an engine has it already; in 10 and later, every context has.
        if context.active_optimization_profile < 0:
            with warnings.catch_warnings():
                # The setter is deprecated. Its successor set_optimization_profile_async crashes the process when
                # TensorRT 8.6 refuses it.
                warnings.simplefilter("ignore", DeprecationWarning)
                with suppress(RuntimeError):
                    context.active_optimization_profile = 0
        return bool(context.active_optimization_profile >= 0)

    def io_tensors(self, engine: Any) -> list[IoTensor]:
        """Lists inputs and outputs in the network's order.

        Raises:
            ModelError: A tensor has a type that is not supported.
        """
        tensors = []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == self.module.TensorIOMode.INPUT
            kind = engine.get_tensor_dtype(name).name
            if kind not in _DTYPES:
                raise ModelError(f"tensor {name!r} is of type {kind}, which is not supported")
            shape = tuple(int(d) for d in engine.get_tensor_shape(name))
            profile: tuple[tuple[int, ...], ...] = ()
            if is_input:
                # A plan without dynamic dimensions has no profile.
                dynamic = any(d < 0 for d in shape)
                shapes = engine.get_tensor_profile_shape(name, 0) if dynamic else (shape, shape, shape)
                profile = tuple(tuple(int(d) for d in s) for s in shapes)
            tensors.append(IoTensor(name, is_input, np.dtype(_DTYPES[kind]), shape, profile))
        return tensors

    def layer_names(self, engine: Any) -> tuple[str, ...]:
        """Lists the layers of an engine in the order of execution."""
        report = engine.create_engine_inspector().get_engine_information(self.module.LayerInformationFormat.JSON)
        # A plan built with detailed verbosity describes each layer by an object, our plans only by its name.
        layers = json.loads(report).get("Layers", [])
        return tuple(str(layer["Name"]) if isinstance(layer, dict) else str(layer) for layer in layers)

    def _words(self, mark: int, summary: str) -> str:
        errors = self.log.errors_since(mark)
        return f"{summary}: {'; '.join(errors[-5:])}" if errors else summary


def _parser_error(error: Any, node_names: list[str]) -> str:
    index = int(error.node())
    name = str(error.node_name()) if hasattr(error, "node_name") else ""
    # The index counts the nodes of the outermost graph; for a node of a subgraph only the name is reliable.
    if 0 <= index < len(node_names) and node_names[index].startswith(name):
        name = node_names[index]
    return f"node {name}: {str(error.desc()).strip()}" if name else str(error.desc()).strip()
