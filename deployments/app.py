"""Application: `build(settings)` sets its number of replicas, their resources and their limits."""

import logging
import math
from functools import partial

import ray
from ray.serve import Application

from azaion_engine.detector import Detector
from azaion_engine.errors import ConfigurationError
from azaion_engine.settings import DEFAULT_BATCH_SIZE
from deployments.deployment import DetectorDeployment, OpenDetector
from deployments.settings import ServiceSettings

# No `from __future__ import annotations` here: Serve reads the builder's annotation to check the YAML's `args`.

logger = logging.getLogger("ray.serve")

ANSWERED_AT_ONCE = 64
"""Number of concurrent requests of a replica that wait neither for a body nor for the engine."""


def build(settings: ServiceSettings) -> Application:
    """Builds the application from the `args` of a Serve config.

    Raises:
        ConfigurationError: TensorRT is required and the cluster has no GPU.
    """
    return build_application(settings)


def __getattr__(name: str) -> Application:
    # `serve build deployments.app:app` takes an application, not a builder; created only on access.
    if name == "app":
        return build(ServiceSettings())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_application(settings: ServiceSettings, opener: OpenDetector | None = None) -> Application:
    """Builds the application with any opener; default: `Detector.open`, shared if a GPU has several replicas."""
    gpus = _gpus(settings)
    per_gpu = settings.replicas_per_gpu
    on_gpus = (settings.autoscale.max_gpus if settings.autoscale else gpus) * per_gpu
    opener = opener or partial(Detector.open, shared=on_gpus > 0 and per_gpu > 1)
    replicas = on_gpus or settings.cpu_replicas
    held = settings.max_queue
    options = {
        # The replica itself answers 503 when it holds max_queue pictures, or when bodies_at_once are arriving. The
        # additional requests are answered at once: probes, the model card, and these 503s.
        "max_ongoing_requests": settings.bodies_at_once + held + ANSWERED_AT_ONCE,
        "max_queued_requests": 4 * held,
        "backpressure_config": {"status_code": 503, "retry_after_s": 1},
        "graceful_shutdown_timeout_s": 2 * settings.timeout_s + 5,  # once for the body, once for the answer
        # Serve replaces a replica after three failed checks; until then the router prefers it for its short queue.
        "health_check_period_s": 1,
        "health_check_timeout_s": 30,
        "ray_actor_options": {"num_cpus": 1, "num_gpus": _share_of_a_gpu(per_gpu) if on_gpus else 0},
    }
    if settings.autoscale:
        options["autoscaling_config"] = {
            "min_replicas": settings.autoscale.min_gpus * per_gpu,
            "max_replicas": settings.autoscale.max_gpus * per_gpu,
            # One batch running and one collecting; below the limit at which the replica refuses.
            "target_ongoing_requests": max(1, min(2 * (settings.batch_size or DEFAULT_BATCH_SIZE), held // 2)),
        }
    else:
        options["num_replicas"] = replicas
    return DetectorDeployment.options(**options).bind(settings, replicas, opener)  # type: ignore[attr-defined]


def _share_of_a_gpu(replicas: int) -> float:
    """Returns each replica's share of a GPU, rounded down to Ray's step of 0.0001 so that all replicas fit."""
    return 1 if replicas == 1 else math.floor(10_000 / replicas) / 10_000


def _gpus(settings: ServiceSettings) -> int:
    """Returns how many GPUs to use; 0 means replicas on the CPU."""
    if settings.engine == "onnx" or settings.num_gpus == 0:
        return 0
    in_cluster = int(ray.cluster_resources().get("GPU", 0)) if ray.is_initialized() else 0
    if settings.num_gpus == "auto":
        if settings.engine == "tensorrt" and not in_cluster and not settings.autoscale:
            raise ConfigurationError("engine: tensorrt needs a GPU, and Ray sees none in this cluster")
        return in_cluster
    if settings.num_gpus > in_cluster:
        logger.warning("num_gpus is %d, the cluster has %d: replicas wait for more", settings.num_gpus, in_cluster)
    return settings.num_gpus
