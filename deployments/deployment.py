"""DetectorDeployment: the Ray Serve deployment of a DetectorService; `@serve.batch` is in the batcher."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import ray
from numpy.typing import NDArray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.system.cores import available_cores
from azaion_engine.system.interpreter import freeze_garbage, switch_threads_quickly
from deployments.access.guard import Guard
from deployments.access.keys_file import watched_keys
from deployments.access.ledger_actor import quotas_of
from deployments.answer import Answer, RowAnswer
from deployments.catalog.records import RayKeyValue, Records
from deployments.cluster.grpc_host import keep_internal_on_loopback
from deployments.front import Front
from deployments.frontends.asgi import create_api
from deployments.frontends.forwarded import HttpAnswer, HttpCall, answer_call
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc
from deployments.frontends.open_inference.repository import ModelRepository, Repositories
from deployments.placement import replicas_here
from deployments.service import DetectorService
from deployments.settings import ServiceSettings
from deployments.versions.checking import agreement_of
from deployments.versions.comparison import try_out
from deployments.versions.version import Report, Trial, Version, Wanted
from deployments.versions.versions import Versions
from deployments.watching.log import show_library_log

logger = logging.getLogger("ray.serve")

OpenDetector = Callable[[ServiceSettings], Detector]


@serve.deployment
@serve.ingress(create_api)
class DetectorDeployment(OpenInferenceGrpc):
    """One replica: its service, and the frontends that call it.

    Attributes:
        reception: What every request passes first.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        replicas: int,
        open_detector: OpenDetector,
        catalogued: Catalogued | None = None,
    ) -> None:
        """Loads or builds the engine and warms it up; the replica is ready when this returns.

        Args:
            settings: Limits and model.
            replicas: Number of replicas; those on one machine share its cores and memory.
            open_detector: Opens the detector in this process (tests put a stand-in engine here).
            catalogued: What holds for one of several models; None for the only one.
        """
        show_library_log()
        keep_internal_on_loopback()
        switch_threads_quickly()
        started = time.monotonic()
        version = Version(model=settings.model, sha256=settings.model_sha256)
        if catalogued is not None:
            version = _wanted_version(version)
            settings = version.applied_to(settings)
        per_gpu = 1 if settings.replicas_per_gpu == "auto" else settings.replicas_per_gpu
        here = replicas_here(replicas, per_gpu)
        cores = max(1, available_cores() // here)
        # The replicas of a GPU share one engine, and where that is ONNX Runtime, the cores of them all.
        engine_cores = max(1, available_cores() // max(1, here // per_gpu))
        models = catalogued.models if catalogued is not None else 1
        self._shares = {
            "threads": settings.threads or engine_cores,
            "max_decode_bytes": settings.max_decode_bytes or DecodeMemory.of_machine(here * models).limit,
        }
        self._decode_threads = settings.decode_threads or cores
        self._settings, self._open_detector = settings, open_detector
        self._check = catalogued.check if catalogued is not None else None
        guard = _open_guard(
            settings, replicas, catalogued
        )  # first: a replica without readable keys must not build an engine
        service = self._open(settings, guard=guard)
        self._versions = Versions(version, service, self, 2 * settings.timeout_s + 5)
        self.reception = service.reception
        self._repositories = Repositories(lambda: self._versions.services)
        freeze_garbage()
        logger.info(
            "ready in %.1f s: %s on %s, input %s, batches of %d",
            time.monotonic() - started,
            service.detector.model_name,
            service.detector.engine.name,
            "x".join(map(str, service.detector.engine.get_input_shape())),
            service.detector.engine.get_batch_size(),
        )

    @property
    def service(self) -> DetectorService:  # type: ignore[override]
        """The service of the version that serves."""
        return self._versions.current

    @property
    def repository(self) -> ModelRepository:  # type: ignore[override]
        """The models of the Open Inference Protocol, of the version that serves."""
        return self.repository_of(self.service)

    def pick(self) -> DetectorService:
        """Returns the service for a new request, which it keeps until it is answered."""
        return self._versions.pick()

    def repository_of(self, service: DetectorService) -> ModelRepository:
        """Returns the models of the Open Inference Protocol of a version."""
        return self._repositories.of(service)

    async def follow(self, wanted: Wanted, trial: Trial | None = None) -> tuple[str, dict[str, Report]]:
        """Serves what is wanted, as `Versions.follow`; returns the version that serves too."""
        reports = self._versions.follow(wanted, trial)
        return self._versions.serving, reports

    async def detect(
        self, picture: bytes, confidence: float | None = None, classes: Collection[int | str] | None = None
    ) -> Answer:
        """Finds the objects in one encoded picture, as `DetectorService.detect`; for a DeploymentHandle."""
        return await self.pick().detect(picture, confidence, classes)

    async def infer_row(self, tensor: NDArray[Any]) -> RowAnswer:
        """Runs one row of the network's input, as `DetectorService.infer_row`; for a DeploymentHandle."""
        return await self.pick().infer_row(tensor)

    async def answer(self, call: HttpCall) -> HttpAnswer:
        """Answers an HTTP request that came through a catalogue, as if it had come over HTTP."""
        return await answer_call(self.app, call)  # type: ignore[attr-defined]

    def describe(self) -> dict[str, Any]:
        """Returns the model card."""
        return self.service.describe()

    def where(self) -> dict[str, str]:
        """Returns where this replica runs: process, node, replica id and assigned GPUs."""
        context = ray.get_runtime_context()
        return {
            "pid": str(os.getpid()),
            "node_id": context.get_node_id(),
            "replica_id": serve.get_replica_context().replica_id.unique_id,
            "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    async def check_health(self) -> None:
        """Raises an error if the engine can never run again, so that Ray replaces this replica."""
        self._versions.check_health()

    def __del__(self) -> None:
        # Serve calls this after all accepted requests were answered; __init__ may have failed before this was set.
        if hasattr(self, "_versions"):
            self._versions.close()

    def _open(
        self, settings: ServiceSettings, guard: Guard | None = None, front: Front | None = None
    ) -> DetectorService:
        detector = self._open_detector(settings.model_copy(update=self._shares))
        detector.model_name = settings.name or detector.model_name
        try:
            return DetectorService(settings, detector, self._decode_threads, guard, front)
        except BaseException:
            detector.close()
            raise

    def open_beside(
        self, version: Version, beside: DetectorService, unwanted: threading.Event
    ) -> tuple[DetectorService, str]:
        """Opens another version, as `versions.Opener` says.

        Raises:
            AzaionError: It cannot be opened or run, or finds other boxes than ONNX Runtime.
        """
        settings = version.applied_to(self._settings)
        if self._check is not None:
            self._check(settings.model_copy(update=self._shares), unwanted)
        service = self._open(settings, front=beside.front)
        try:
            service.detector.detect([sample_picture(name) for name in SAMPLES])
            return service, agreement_of(service.detector)
        except BaseException:
            service.retire()
            raise

    def try_out(self, before: DetectorService, after: DetectorService, trial: Trial) -> str:
        """Compares two versions, as `versions.Opener` says.

        Raises:
            VersionRefusedError: As `comparison.try_out`.
        """
        return try_out(before, after, trial)


class Catalogued(NamedTuple):
    """What holds for one of several models.

    Attributes:
        models: Number of models that are served beside each other; they share the memory.
        check: Opens a version in a process of its own first, and raises an AzaionError if it is refused, or no longer
            wanted; None where the engine lives in such a process anyway.
        replicas: Number of replicas of all models, at most; they keep the limits of keys together.
    """

    models: int
    check: Callable[[ServiceSettings, threading.Event], None] | None
    replicas: int = 1


def _wanted_version(configured: Version) -> Version:
    """Returns the version that this replica's model is to serve: another one than configured after a swap."""
    record = Records(RayKeyValue()).get(serve.get_replica_context().app_name)
    return configured if record is None else record.wanted.serving


def _open_guard(settings: ServiceSettings, replicas: int, catalogued: Catalogued | None) -> Guard | None:
    if settings.access is None:
        return None
    keys = watched_keys(settings.access.keys_file)  # first: without them nothing else is opened
    if catalogued is None:
        quotas = quotas_of(replicas)
    else:  # a key's limits hold for all models together
        service = serve.get_replica_context().app_name.removesuffix(f".{settings.name}")
        quotas = quotas_of(catalogued.replicas, service)
    return Guard(keys, settings.max_queue, quotas, settings.name)
