"""Reuse: the key of the plan that a model needs on this machine, and why a stored plan is not reused."""

from __future__ import annotations

from typing import Any

from azaion_engine.cuda.gpu import describe_gpu
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.build import builder as engine_builder
from azaion_engine.errors import AzaionError
from azaion_engine.model.info import ModelInfo
from azaion_engine.plans.manifest import PlanKey, differences
from azaion_engine.plans.stored_plan import StoredPlan, UnusableError
from azaion_engine.settings import DEFAULT_BATCH_SIZE, DetectorSettings


def plan_key(info: ModelInfo, settings: DetectorSettings) -> PlanKey:
    """Returns the key of the plan that a model needs on this machine under these settings.

    Raises:
        ConfigurationError: This process sees no GPU.
        MissingDependencyError: PyCUDA, NVML, the driver or TensorRT is not installed.
    """
    return PlanKey(**_chosen(info, settings), **_machine())


def why_not_reused(
    plan: StoredPlan, info: ModelInfo | None = None, settings: DetectorSettings | None = None
) -> list[str]:
    """Returns the reasons why a stored plan would not be reused here; empty if it would be.

    Args:
        plan: The stored plan; its file is read and hashed.
        info: The model to run; default: the model and settings that the plan was built with.
        settings: The settings for `info`; default `DetectorSettings()`. Ignored without `info`.
    """
    try:
        manifest = plan.read_manifest()
    except UnusableError as error:
        return [str(error)]
    reasons = []
    wanted = _chosen(info, settings or DetectorSettings()) if info else {}
    try:
        wanted |= _machine()
    except AzaionError as error:  # the model and settings can be compared without a GPU
        reasons.append(str(error))
    reasons += differences(manifest.key.model_copy(update=wanted), manifest.key)
    try:
        plan.read_plan(manifest)
    except UnusableError as error:
        reasons.append(str(error))
    return reasons


def engine_input(info: ModelInfo, settings: DetectorSettings) -> tuple[int, int, int]:
    """Returns (batch, height, width) that a model's plan is built for under these settings."""
    return info.resolve(settings.batch_size or DEFAULT_BATCH_SIZE, settings.height, settings.width)


def _chosen(info: ModelInfo, settings: DetectorSettings) -> dict[str, Any]:
    batch, height, width = engine_input(info, settings)
    return {
        "model_sha256": info.sha256,
        "precision": f"{info.quantised}+{settings.precision}" if info.quantised else settings.precision,
        "input_shape": (height, width),
        "batch_profile": (batch if info.input.shape[0] > 0 else 1, batch, batch),
        "optimization_level": settings.optimization_level,
    }


def _machine() -> dict[str, Any]:
    gpu, tensorrt = describe_gpu(0), installed.load()
    return {
        "tensorrt_flavour": tensorrt.flavour,
        "tensorrt_version": tensorrt.version,
        "gpu_name": gpu.name,
        "compute_capability": gpu.compute_capability,
        "sm_count": gpu.sm_count,
        "gpu_memory_gib": round(gpu.memory_bytes / 2**30),
        "recipe": engine_builder.BUILD_RECIPE,
    }
