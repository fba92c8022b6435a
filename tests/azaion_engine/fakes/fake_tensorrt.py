"""Fake `tensorrt` with the API of 8.6.0, weakly typed: its plans are ONNX files that ONNX Runtime executes.

One layer per ONNX node. `builds` keeps the options of each build (flags, layer precisions, limits) for the tests.
"""

from __future__ import annotations

import ctypes
import enum
import json
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.azaion_engine.fakes.fake_cuda import FakeCuda, streams

MAGIC = b"FAKEPLAN"
DataType = enum.Enum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8")
LayerType = enum.Enum(
    "LayerType", "CONVOLUTION ACTIVATION ELEMENTWISE SHUFFLE TOPK CAST CONSTANT SHAPE MATRIX_MULTIPLY"
)
_ELEMENTS = {
    1: DataType.FLOAT,
    2: DataType.UINT8,
    3: DataType.INT8,
    10: DataType.HALF,
    6: DataType.INT32,
    7: DataType.INT32,
    9: DataType.BOOL,
}
_LAYERS = {
    "Conv": LayerType.CONVOLUTION,
    "MatMul": LayerType.MATRIX_MULTIPLY,
    "Sigmoid": LayerType.ACTIVATION,
    "Reshape": LayerType.SHUFFLE,
    "Transpose": LayerType.SHUFFLE,
    "TopK": LayerType.TOPK,
    "Cast": LayerType.CAST,
    "Constant": LayerType.CONSTANT,
    "Shape": LayerType.SHAPE,
}


def make_tensorrt(cuda: FakeCuda) -> Any:
    """Makes the module for a machine; its calls need a current context wherever TensorRT's do."""
    module: Any = ModuleType("tensorrt")
    module.__version__ = "8.6.0"
    module.builds = []

    class ILogger:
        Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class Builder:
        platform_has_fast_fp16 = True

        def __init__(self, logger: ILogger) -> None:
            cuda.check()
            self.logger = logger

        def create_network(self, flags: int) -> _Network:
            assert flags == 1, "8.6 needs EXPLICIT_BATCH"
            return _Network()

        def create_builder_config(self) -> _Config:
            return _Config()

        def create_optimization_profile(self) -> Any:
            shapes: dict[str, Any] = {}
            return SimpleNamespace(shapes=shapes, set_shape=lambda name, *three: shapes.update({name: three}))

        def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
            module.builds.append((network, config))
            dynamic = any(size < 0 for size in network.get_input(0).shape)
            if dynamic and not config.profiles:
                self.logger.log(ILogger.Severity.ERROR, "4: Network has dynamic inputs, but no profile")
                return None
            profile = config.profiles[0].shapes if config.profiles else {}
            facts = {"profile": profile, "shared": "PROFILE_SHARING_0806" in config.features}
            return MAGIC + json.dumps(facts).encode() + b"\0" + network.onnx + MAGIC

    class OnnxParser:
        def __init__(self, network: _Network, logger: ILogger) -> None:
            self.network, self.logger, self.errors = network, logger, []

        num_errors = property(lambda self: len(self.errors))

        def get_error(self, index: int) -> Any:
            return self.errors[index]

        def parse(self, data: bytes) -> bool:
            model = onnx.load_model_from_string(data)
            for index, node in enumerate(model.graph.node):
                if node.domain not in ("", "ai.onnx"):
                    text = f"In node {index} (importFallbackPluginImporter): UNSUPPORTED_NODE"
                    self.logger.log(ILogger.Severity.ERROR, text)
                    self.errors.append(SimpleNamespace(node=lambda i=index: i, desc=lambda t=text: t))
            if not self.errors:
                self.network.fill(data, model)
            return not self.errors

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            cuda.check()
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
            if not (plan.startswith(MAGIC) and plan.endswith(MAGIC) and len(plan) > 2 * len(MAGIC)):
                self.logger.log(ILogger.Severity.ERROR, "1: [stdArchiveReader.cpp] Serialization assertion failed.")
                return None
            if cuda.full_at == "plan":
                self.logger.log(ILogger.Severity.ERROR, "1: [defaultAllocator.cpp] Error: Cuda Runtime (out of memory)")
                return None
            return _Engine(cuda, plan)

    module.ILogger, module.Builder, module.OnnxParser, module.Runtime = ILogger, Builder, OnnxParser, Runtime
    module.DataType, module.LayerType = DataType, LayerType
    module.BuilderFlag = enum.Enum(
        "BuilderFlag", "FP16 INT8 TF32 PREFER_PRECISION_CONSTRAINTS OBEY_PRECISION_CONSTRAINTS"
    )
    module.NetworkDefinitionCreationFlag = enum.IntEnum("Flag", {"EXPLICIT_BATCH": 0, "EXPLICIT_PRECISION": 1})
    module.TacticSource = enum.IntEnum(
        "TacticSource", {"CUBLAS": 0, "CUBLAS_LT": 1, "CUDNN": 2, "EDGE_MASK_CONVOLUTIONS": 3, "JIT_CONVOLUTIONS": 4}
    )
    module.PreviewFeature = enum.Enum("PreviewFeature", "FASTER_DYNAMIC_SHAPES_0805 PROFILE_SHARING_0806")
    module.MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
    module.TensorIOMode = TensorIOMode
    module.LayerInformationFormat = enum.Enum("LayerInformationFormat", "ONELINE JSON")
    return module


TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")


class _Config:
    def __init__(self) -> None:
        self.flags, self.pools, self.profiles = {"TF32"}, {}, []
        self.builder_optimization_level, self.tactic_sources = 3, None
        self.features: set[str] = set()

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        (self.features.add if enable else self.features.discard)(feature.name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.pools[pool.name] = size

    def set_tactic_sources(self, mask: int) -> None:
        self.tactic_sources = mask

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1


class _Layer:
    def __init__(self, node: Any, inputs: list[Any], outputs: list[Any]) -> None:
        self.name, self.type = node.name, _LAYERS.get(node.op_type, LayerType.ELEMENTWISE)
        self.inputs, self.outputs = inputs, outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.precision: Any = None
        self.output_types: dict[int, Any] = {}

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_output(self, index: int) -> Any:
        return self.outputs[index]

    def set_output_type(self, index: int, kind: Any) -> None:
        self.output_types[index] = kind


class _Network:
    def __init__(self) -> None:
        self.onnx, self.layers, self.tensors = b"", [], {}
        self.inputs, self.outputs = [], []

    def fill(self, data: bytes, model: Any) -> None:
        self.onnx = data
        inferred = onnx.shape_inference.infer_shapes(model).graph
        for value in [*inferred.input, *inferred.value_info, *inferred.output]:
            dims = value.type.tensor_type.shape.dim
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)
            kind = _ELEMENTS[value.type.tensor_type.elem_type]
            self.tensors[value.name] = SimpleNamespace(name=value.name, shape=shape, dtype=kind, is_shape_tensor=False)
        weights = {weight.name for weight in inferred.initializer}
        for node in inferred.node:
            inputs = [self.tensors.get(name) for name in node.input if name not in weights]
            self.layers.append(_Layer(node, inputs, [self.tensors[name] for name in node.output]))
        self.inputs = [self.tensors[value.name] for value in inferred.input]
        self.outputs = [self.tensors[value.name] for value in inferred.output]

    num_layers = property(lambda self: len(self.layers))
    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.outputs))

    def get_layer(self, index: int) -> _Layer:
        return self.layers[index]  # type: ignore[no-any-return]

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_output(self, index: int) -> Any:
        return self.outputs[index]


class _Engine:
    def __init__(self, cuda: FakeCuda, plan: bytes) -> None:
        self.cuda = cuda
        head, _, rest = plan[len(MAGIC) :].partition(b"\0")
        facts = json.loads(head)
        self.profile, self.shared, self.onnx = facts["profile"], facts.get("shared", False), rest[: -len(MAGIC)]
        self.contexts = 0
        network = _Network()
        network.fill(self.onnx, onnx.load_model_from_string(self.onnx))
        self.inputs = {tensor.name for tensor in network.inputs}
        self.io = {tensor.name: tensor for tensor in [*network.inputs, *network.outputs]}
        self.num_io_tensors = len(self.io)
        self.device_memory_size = 1 << 20
        self.workspace = cuda.module.mem_alloc(1 << 20)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])
        self.layer_names = [layer.name for layer in network.layers]

    def __del__(self) -> None:
        if not self.cuda.lost and not self.cuda.idle():
            self.workspace.free()

    def get_tensor_name(self, index: int) -> str:
        return str(list(self.io)[index])

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return self.io[name].dtype

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.io[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.profile[name]

    def create_engine_inspector(self) -> Any:
        def report(kind: Any) -> str:
            assert kind.name == "JSON"
            return json.dumps({"Layers": self.layer_names, "Bindings": list(self.io)})

        return SimpleNamespace(get_engine_information=report)

    def create_execution_context_without_device_memory(self) -> _Execution | None:
        self.cuda.check()
        if self.cuda.full_at == "context" or (self.cuda.full_at == "second context" and self.contexts > 0):
            return None
        self.contexts += 1
        return _Execution(self)


class _Execution:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.addresses, self.shapes = engine, {}, {}
        self._profile = 0 if engine.contexts == 1 or not engine.profile else -1
        self.device_memory = 0
        self.ran_with: dict[str, tuple[int, ...]] = {}

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    @active_optimization_profile.setter
    def active_optimization_profile(self, profile: int) -> None:
        self.engine.cuda.check()
        if not self.engine.shared:
            raise RuntimeError("Error in set optimization profile.")
        self._profile = profile

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.active_optimization_profile == 0
        limits = self.engine.profile.get(name)
        if limits and not all(low <= size <= high for low, size, high in zip(limits[0], shape, limits[2], strict=True)):
            return False
        fixed = self.engine.io[name].shape
        if any(size not in (-1, given) for size, given in zip(fixed, shape, strict=True)):
            return False
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.shapes:
            return tuple(self.shapes[name])
        (given,) = self.shapes.values()
        return (given[0], *self.engine.io[name].shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        cuda, stream = self.engine.cuda, streams[handle]
        cuda.check()
        assert stream.flags == 1, "the stream must not wait for the default stream"
        cuda.memory(self.device_memory, self.engine.device_memory_size)
        shapes = dict(self.shapes)
        if stream.recording is not None and self.ran_with != shapes:
            return False  # as in TensorRT, the first execution with new shapes cannot be recorded
        self.ran_with = shapes
        stream.put(lambda: self._execute(shapes))
        return True

    def _execute(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if self.engine.cuda.before_execution:
            self.engine.cuda.before_execution()
        session = self.engine.session
        feeds = {name: self._view(name, shape).copy() for name, shape in shapes.items()}
        for output, value in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            self._view(output.name, value.shape)[...] = value

    def _view(self, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        kinds = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "UINT8": "uint8"}
        dtype = np.dtype(kinds[self.engine.io[name].dtype.name])
        memory = self.engine.cuda.allocated[self.addresses[name]]
        count = int(np.prod(shape))
        assert count * dtype.itemsize <= ctypes.sizeof(memory)
        return np.frombuffer(memory, dtype, count).reshape(shape)
