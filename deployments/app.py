"""Application: `build(settings)` sets its number of replicas, their resources and their limits."""

import logging
import math
import os
from functools import partial

import ray
from ray import serve
from ray.serve import Application

from azaion_engine.detector import Detector
from azaion_engine.errors import ConfigurationError
from azaion_engine.model.file import ModelFile
from azaion_engine.settings import DEFAULT_BATCH_SIZE
from deployments.access.keys_file import KeysFile
from deployments.access.open_addresses import NO_KEY
from deployments.cluster.grpc_host import is_loopback
from deployments.cluster.token import check_token
from deployments.deployment import DetectorDeployment, OpenDetector
from deployments.placement import replicas_for_each_gpu
from deployments.settings import ServiceSettings

# No `from __future__ import annotations` here: Serve reads the builder's annotation to check the YAML's `args`.

logger = logging.getLogger("ray.serve")

ANSWERED_AT_ONCE = 64
"""Number of concurrent requests of a replica that wait neither for a body nor for the engine."""

PROXY_LIMIT = 180
"""Pictures a second that Serve's Python proxy passes, about."""


def build(settings: ServiceSettings) -> Application:
    """Builds the application from the `args` of a Serve config.

    Raises:
        ConfigurationError: TensorRT is required and the cluster has no GPU; or Ray's token, and it is off; or the keys
            file cannot be used.
    """
    if ray.is_initialized():
        check_token(ray.nodes(), settings.require_ray_token)
        if settings.access is None:
            _warn_of_open_addresses()
    return build_application(settings)


def __getattr__(name: str) -> Application:
    # `serve build deployments.app:app` takes an application, not a builder; created only on access.
    if name == "app":
        return build(ServiceSettings())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_application(settings: ServiceSettings, opener: OpenDetector | None = None) -> Application:
    """Builds the application with any opener; default: `Detector.open`, shared if a GPU has several replicas."""
    if settings.access is not None:
        KeysFile(settings.access.keys_file)  # refused here, before every replica refuses it
    gpus = settings.autoscale.max_gpus if settings.autoscale else _gpus(settings)
    per_gpu = _replicas_per_gpu(settings) if gpus else 1
    settings = settings.model_copy(update={"replicas_per_gpu": per_gpu})
    if opener is None:
        opener = partial(Detector.open, shared=gpus > 0 and per_gpu > 1)
        settings = _with_fixed_model(settings)
    replicas = gpus * per_gpu or settings.cpu_replicas
    _log_choice(gpus, per_gpu, replicas)
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
        "ray_actor_options": {"num_cpus": 1, "num_gpus": _share_of_a_gpu(per_gpu) if gpus else 0},
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


def _warn_of_open_addresses() -> None:
    """Warns if Serve's HTTP listens beyond this host, where everybody may use a service that asks for no key."""
    try:
        client = serve.context._get_global_client(raise_if_no_controller_running=False)
        host = client.http_config.host if client is not None else "127.0.0.1"
    except Exception as error:  # Serve's own module, which another version may lack: a warning is not worth a failure
        logger.debug("the address of HTTP is unknown: %r", error)
        return
    if not is_loopback(host):
        logger.warning(NO_KEY.format(host=host))


def _with_fixed_model(settings: ServiceSettings) -> ServiceSettings:
    """Returns settings with the SHA-256 of today's model file.

    A replica that starts later, perhaps after a crash, must not serve another model under the same name.
    """
    if settings.model_sha256 is not None:
        return settings
    try:
        sha256 = ModelFile.read(settings.model).sha256
    except ConfigurationError as error:  # not on this node; the replicas tell what is wrong if it is not on theirs
        logger.warning("the model's SHA-256 is not fixed, as this node cannot read it: %s", error)
        return settings
    return settings.model_copy(update={"model_sha256": sha256})


def _replicas_per_gpu(settings: ServiceSettings) -> int:
    """Returns how many replicas share each GPU."""
    if settings.replicas_per_gpu != "auto":
        return settings.replicas_per_gpu
    return replicas_for_each_gpu(ray.nodes() if ray.is_initialized() else [])


def _log_choice(gpus: int, per_gpu: int, replicas: int) -> None:
    """Logs where the replicas run, and warns if Serve's own proxy will keep the GPUs waiting."""
    if not gpus:
        logger.info("replicas on the CPU: %d", replicas)
        return
    engine = "one engine in a process of its own" if per_gpu > 1 else "an engine in the replica's process"
    logger.info("GPUs: %d, replicas for each: %d, with %s", gpus, per_gpu, engine)
    # HAProxy is turned on in the environment of Ray's start, which workers inherit, and by no key of the YAML.
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        logger.warning(
            "SLOW: HAPROXY IS OFF, and Serve's Python proxy passes about %d pictures a second, however many GPUs there "
            "are. `azaion serve FILE` turns it on; on a cluster, the variables of configs/throughput.env before "
            "`ray start` on every node",
            PROXY_LIMIT,
        )


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
