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
from deployments.catalog_deployment import CatalogDeployment
from deployments.cluster.grpc_host import is_loopback
from deployments.cluster.token import check_token
from deployments.deployment import Catalogued, DetectorDeployment, OpenDetector
from deployments.multiplexed_deployment import MultiplexedDeployment
from deployments.multiplexing.rare_models import RareModels
from deployments.placement import WHOLE_MACHINE, Share, replicas_for_each_gpu, share_of_a_gpu, share_of_each
from deployments.settings import ApplicationSettings, ServiceSettings
from deployments.versions.checking import check_model

# No `from __future__ import annotations` here: Serve reads the builder's annotation to check the YAML's `args`.

logger = logging.getLogger("ray.serve")

ANSWERED_AT_ONCE = 64
"""Number of concurrent requests of a replica that wait neither for a body nor for the engine."""

CATALOG_REQUESTS = 1000
"""Number of concurrent requests of the catalogue; each waits for a model, whose replica has limits of its own."""

PROXY_LIMIT = 180
"""Pictures a second that Serve's Python proxy passes, about."""


def build(settings: ApplicationSettings) -> Application:
    """Builds the application from the `args` of a Serve config.

    With `models` it is their catalogue, which deploys an application for each.

    Raises:
        ConfigurationError: TensorRT is required and the cluster has no GPU; or Ray's token, and it is off; or the keys
            file cannot be used.
    """
    if ray.is_initialized():
        check_token(ray.nodes(), settings.require_ray_token)
        if settings.access is None:
            _warn_of_open_addresses()
    if settings.models is None:
        return build_application(settings.of_the_only_model())
    return build_catalog(settings)


def __getattr__(name: str) -> Application:
    # `serve build deployments.app:app` takes an application, not a builder; created only on access.
    if name == "app":
        return build(ApplicationSettings())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def build_application(
    settings: ServiceSettings,
    opener: OpenDetector | None = None,
    share: Share = WHOLE_MACHINE,
    version: str | None = None,
) -> Application:
    """Builds the application of one model.

    Args:
        settings: Its settings.
        opener: Opens its detector; default: `Detector.open`, shared if a GPU has several replicas.
        share: What it gets of the machines, if others are served beside it.
        version: Of one of several models: by which Serve knows what it runs already.

    Raises:
        ConfigurationError: As `build`.
    """
    if settings.access is not None:
        KeysFile(settings.access.keys_file)  # refused here, before every replica refuses it
    gpus, per_gpu, replicas = _numbers(settings, share)
    settings = settings.model_copy(update={"replicas_per_gpu": per_gpu})
    own_engine = opener is None
    if opener is None:
        opener = partial(Detector.open, shared=gpus > 0 and per_gpu > 1)
        settings = _with_fixed_model(settings)
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
        "ray_actor_options": {
            "num_cpus": share.cpus,
            "num_gpus": share_of_a_gpu(_part(settings, share), per_gpu) if gpus else 0,
        },
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
    deployment = DetectorDeployment.options(**options)  # type: ignore[attr-defined]
    catalogued = version is not None
    if catalogued:  # Serve's public options have no version
        deployment = deployment.options(version=version, _internal=True)
    if not catalogued:
        return deployment.bind(settings, replicas, opener)
    check = check_model if own_engine and per_gpu == 1 else None
    return deployment.bind(settings, replicas, opener, Catalogued(share.models, check, share.replicas))


def build_catalog(settings: ApplicationSettings, opener: OpenDetector | None = None) -> Application:
    """Builds the application that deploys several models and lists them.

    Args:
        settings: Those of every model.
        opener: As of `build_application`.
    """
    rare = settings.rare_models
    each = [settings.of_model(name) for name in settings.models or () if name not in rare]
    if rare:
        each.append(settings.of_rare_models())
    share = share_of_each(each, ray.cluster_resources() if ray.is_initialized() else {})
    if rare:  # as many as are loaded at a time share the memory
        share = share._replace(models=len(each) - 1 + min(len(rare), settings.rarely_used.loaded))
    if settings.access is not None:
        share = share._replace(replicas=sum(_most_replicas(one, share) for one in each))
    options = {
        "num_replicas": 1,
        "max_ongoing_requests": CATALOG_REQUESTS,
        "health_check_period_s": 1,
        "graceful_shutdown_timeout_s": max(2 * one.timeout_s + 5 for one in each),
        "ray_actor_options": {"num_cpus": 0},
    }
    deployment = CatalogDeployment.options(**options)  # type: ignore[attr-defined]
    return deployment.bind(
        settings,
        partial(build_application, opener=opener, share=share),
        partial(build_multiplexed, settings, opener, share),
    )


def build_multiplexed(
    settings: ApplicationSettings, opener: OpenDetector | None = None, share: Share = WHOLE_MACHINE, version: str = ""
) -> Application:
    """Builds the application of the models that are rarely used.

    Args:
        settings: Those of every model.
        opener: As of `build_application`.
        share: What it gets of the machines.
        version: By which Serve knows what it runs already.
    """
    replicas = settings.of_rare_models()
    gpus = _gpus(replicas)
    number = gpus or replicas.cpu_replicas
    longest_s = max(settings.of_model(name).timeout_s for name in settings.rare_models)
    options = {
        "num_replicas": number,
        "max_ongoing_requests": replicas.bodies_at_once + len(settings.rare_models) * replicas.max_queue,
        "max_queued_requests": 4 * replicas.max_queue,
        "health_check_period_s": 1,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": 2 * longest_s + 5,
        "ray_actor_options": {
            "num_cpus": share.cpus,
            "num_gpus": share_of_a_gpu(_part(replicas, share), 1) if gpus else 0,
        },
    }
    deployment = MultiplexedDeployment.options(**options)  # type: ignore[attr-defined]
    deployment = deployment.options(version=version, _internal=True)
    rare = RareModels(
        {name: settings.of_model(name) for name in settings.rare_models},
        replicas,
        settings.rarely_used,
        share.models,
        share.replicas,
        check_model if opener is None else None,
    )
    return deployment.bind(rare, number, opener or Detector.open)


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


def _numbers(settings: ServiceSettings, share: Share) -> tuple[int, int, int]:
    """Returns the number of GPUs of a model, of replicas on each, and of all replicas, at most."""
    gpus = settings.autoscale.max_gpus if settings.autoscale else _gpus(settings)
    per_gpu = _replicas_per_gpu(settings, share) if gpus else 1
    return gpus, per_gpu, gpus * per_gpu or settings.cpu_replicas


def _most_replicas(settings: ServiceSettings, share: Share) -> int:
    """Returns the number of replicas of a model, at most; 0 of one that cannot be deployed, which its state tells."""
    try:
        return _numbers(settings, share)[2]
    except ConfigurationError:
        return 0


def _replicas_per_gpu(settings: ServiceSettings, share: Share) -> int:
    """Returns how many replicas of a model share each GPU."""
    if settings.replicas_per_gpu != "auto":
        return settings.replicas_per_gpu
    whole = replicas_for_each_gpu(ray.nodes() if ray.is_initialized() else [])
    return max(1, int(whole * _part(settings, share)))


def _part(settings: ServiceSettings, share: Share) -> float:
    """Returns the part of each of its GPUs that a model gets."""
    if settings.num_gpus == "auto":
        return share.gpu
    return min(1.0, settings.num_gpus)


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
        logger.warning("num_gpus is %g, the cluster has %d: replicas wait for more", settings.num_gpus, in_cluster)
    return math.ceil(settings.num_gpus)
