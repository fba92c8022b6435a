"""TensorRT: its messages, and the differences between versions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.api import TensorRT
from azaion_engine.errors import ConfigurationError, PlanError
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_tensorrt import make_tensorrt


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    installed.forget()
    yield
    installed.forget()


@pytest.fixture
def fake() -> Any:
    return make_tensorrt(FakeCuda([PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0")]))


def test_messages_reach_the_log_at_their_level_and_warnings_once(fake: Any, caplog: pytest.LogCaptureFixture) -> None:
    loaded = TensorRT(fake, "tensorrt")
    severity = fake.ILogger.Severity
    mark = loaded.log.mark()
    with caplog.at_level(logging.DEBUG, "azaion_engine.tensorrt"):
        for kind in ("VERBOSE", "INFO", "WARNING", "WARNING", "ERROR", "INTERNAL_ERROR"):
            loaded.log.ilogger.log(severity[kind], f"{kind} here")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "INFO here"),
        ("WARNING", "WARNING here"),
        ("DEBUG", "WARNING here"),
        ("ERROR", "ERROR here"),
        ("ERROR", "INTERNAL_ERROR here"),
    ]
    assert loaded.log.errors_since(mark) == ["ERROR here", "INTERNAL_ERROR here"]
    assert loaded.log.errors_since(loaded.log.mark()) == []


def test_a_logger_never_raises_into_tensorrt(fake: Any) -> None:
    TensorRT(fake, "tensorrt").log.ilogger.log(fake.ILogger.Severity.ERROR, None)


def test_a_refused_plan_carries_tensorrts_words(fake: Any) -> None:
    loaded = TensorRT(fake, "tensorrt")
    fake.Runtime.__init__ = lambda self, logger: setattr(self, "logger", logger)
    with pytest.raises(PlanError, match=r"tensorrt 8\.6\.0 cannot use this plan of 4 bytes here: .*Serialization"):
        loaded.deserialize(b"junk")


def test_no_runtime_is_no_fault_of_the_plan(fake: Any) -> None:
    loaded = TensorRT(fake, "tensorrt")

    def refuse(self: Any, logger: Any) -> None:
        logger.log(fake.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("factory function returned nullptr")

    fake.Runtime.__init__ = refuse
    with pytest.raises(ConfigurationError, match=r"gives no runtime: factory .*: CUDA initialization failure"):
        loaded.deserialize(b"plan")


@pytest.mark.parametrize(
    "words",
    [
        "1: [defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)",
        "Requested amount of GPU memory (123 bytes) could not be allocated.",
        "1: [cudaDriverHelpers.cpp] Error Code 1: Cuda Driver (an illegal memory access was encountered)",
    ],
)
def test_a_gpu_without_room_is_no_fault_of_the_plan(fake: Any, words: str) -> None:
    loaded = TensorRT(fake, "tensorrt")
    fake.Runtime.__init__ = lambda self, logger: logger.log(fake.ILogger.Severity.ERROR, words)
    fake.Runtime.deserialize_cuda_engine = lambda self, plan: self.__init__(loaded.log.ilogger)
    with pytest.raises(ConfigurationError, match=r"cannot use this plan of 4 bytes here: .*memory"):
        loaded.deserialize(b"plan")


def test_a_message_within_a_message_does_not_lock_up(fake: Any) -> None:
    log = TensorRT(fake, "tensorrt").log

    def collected_meanwhile() -> None:
        with log._lock:
            log.ilogger.log(fake.ILogger.Severity.ERROR, "freed too late")

    thread = threading.Thread(target=collected_meanwhile, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


USED_NAMES = {
    "Builder": "create_network create_builder_config create_optimization_profile build_serialized_network",
    "IBuilderConfig": "set_memory_pool_limit clear_flag set_flag builder_optimization_level add_optimization_profile",
    "INetworkDefinition": "get_input get_output num_outputs num_inputs get_layer num_layers",
    "OnnxParser": "parse num_errors get_error",
    "ParserError": "node desc",
    "Runtime": "deserialize_cuda_engine",
    "ICudaEngine": "num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape "
    "get_tensor_profile_shape create_execution_context",
    "IExecutionContext": "set_input_shape get_tensor_shape set_tensor_address execute_async_v3 device_memory "
    "active_optimization_profile set_optimization_profile_async",
    "ITensor": "name shape dtype is_shape_tensor",
    "ILayer": "name type num_inputs num_outputs get_input get_output",
    "IOptimizationProfile": "set_shape",
}
"""Returns every name of TensorRT's API that this project uses, by class."""


def check_names(module: Any) -> None:
    for kind, names in USED_NAMES.items():
        for name in names.split():
            assert hasattr(getattr(module, kind), name), f"{kind}.{name}"
    for path in (
        "BuilderFlag.TF32",
        "MemoryPoolType.WORKSPACE",
        "TensorIOMode.INPUT",
        "DataType.FLOAT",
        "DataType.HALF",
    ):
        kind, name = path.split(".")
        assert hasattr(getattr(module, kind), name), path
    if hasattr(module.BuilderFlag, "FP16"):
        assert hasattr(module.BuilderFlag, "PREFER_PRECISION_CONSTRAINTS")
        assert hasattr(module.ILayer, "precision")
        assert hasattr(module.ILayer, "set_output_type")
    if hasattr(module, "ExecutionContextAllocationStrategy"):
        assert hasattr(module.ExecutionContextAllocationStrategy, "USER_MANAGED")
        assert hasattr(module.IExecutionContext, "set_device_memory")
    else:
        assert hasattr(module.ICudaEngine, "create_execution_context_without_device_memory")
    assert hasattr(module.ICudaEngine, "device_memory_size_v2") or hasattr(module.ICudaEngine, "device_memory_size")
    if module.__version__.startswith("8."):
        assert hasattr(module.PreviewFeature, "PROFILE_SHARING_0806")
    if hasattr(module, "IProgressMonitor"):
        assert hasattr(module.IBuilderConfig, "progress_monitor")


def test_rtx_has_every_name_used() -> None:
    import tensorrt_rtx

    check_names(tensorrt_rtx)


@pytest.mark.gpu
def test_installed_tensorrt_has_every_name_used() -> None:
    check_names(installed.load().module)
