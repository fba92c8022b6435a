"""DetectorDeployment: the Ray Serve deployment of a DetectorService; `@serve.batch` is in the batcher."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection
from typing import Any

import ray
from numpy.typing import NDArray
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.system.cores import available_cores
from azaion_engine.system.interpreter import freeze_garbage, switch_threads_quickly
from deployments.access.guard import Guard
from deployments.access.keys_file import KeysFile
from deployments.access.ledger_actor import quotas_of
from deployments.cluster.grpc_host import keep_internal_on_loopback
from deployments.frontends.asgi import create_api
from deployments.frontends.forwarded import HttpAnswer, HttpCall, answer_call
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.placement import replicas_here
from deployments.service import Answer, DetectorService, RowAnswer
from deployments.settings import ServiceSettings
from deployments.watching.log import show_library_log

logger = logging.getLogger("ray.serve")

OpenDetector = Callable[[ServiceSettings], Detector]


@serve.deployment
@serve.ingress(create_api)
class DetectorDeployment(OpenInferenceGrpc):
    """One replica: its service, and the frontends that call it.

    Attributes:
        reception: What every request passes first.
        service: Answers pictures; the HTTP frontends read it here.
        repository: The models of the Open Inference Protocol.
    """

    def __init__(self, settings: ServiceSettings, replicas: int, open_detector: OpenDetector, models: int = 1) -> None:
        """Loads or builds the engine and warms it up; the replica is ready when this returns.

        Args:
            settings: Limits and model.
            replicas: Number of replicas; those on one machine share its cores and memory.
            open_detector: Opens the detector in this process (tests put a stand-in engine here).
            models: Number of models that are served beside each other; they share the memory.
        """
        show_library_log()
        keep_internal_on_loopback()
        switch_threads_quickly()
        started = time.monotonic()
        per_gpu = 1 if settings.replicas_per_gpu == "auto" else settings.replicas_per_gpu
        here = replicas_here(replicas, per_gpu)
        cores = max(1, available_cores() // here)
        # The replicas of a GPU share one engine, and where that is ONNX Runtime, the cores of them all.
        engine_cores = max(1, available_cores() // max(1, here // per_gpu))
        shares = {
            "threads": settings.threads or engine_cores,
            "max_decode_bytes": settings.max_decode_bytes or DecodeMemory.of_machine(here * models).limit,
        }
        guard = _open_guard(settings, replicas)  # first: a replica without readable keys must not build an engine
        detector = open_detector(settings.model_copy(update=shares))
        detector.model_name = settings.name or detector.model_name
        try:
            self.service = DetectorService(settings, detector, settings.decode_threads or cores, guard)
        except BaseException:
            detector.close()
            raise
        self.reception = self.service.reception
        self.repository = ModelRepository(self.service)
        freeze_garbage()
        logger.info(
            "ready in %.1f s: %s on %s, input %s, batches of %d",
            time.monotonic() - started,
            detector.model_name,
            detector.engine.name,
            "x".join(map(str, detector.engine.get_input_shape())),
            detector.engine.get_batch_size(),
        )

    async def detect(
        self, picture: bytes, confidence: float | None = None, classes: Collection[int | str] | None = None
    ) -> Answer:
        """Finds the objects in one encoded picture, as `DetectorService.detect`; for a DeploymentHandle."""
        return await self.service.detect(picture, confidence, classes)

    async def infer_row(self, tensor: NDArray[Any]) -> RowAnswer:
        """Runs one row of the network's input, as `DetectorService.infer_row`; for a DeploymentHandle."""
        return await self.service.infer_row(tensor)

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
        self.service.check_health()

    def __del__(self) -> None:
        # Serve calls this after all accepted requests were answered; __init__ may have failed before `service` was set.
        if hasattr(self, "service"):
            self.service.close()


def _open_guard(settings: ServiceSettings, replicas: int) -> Guard | None:
    if settings.access is None:
        return None
    keys = KeysFile(settings.access.keys_file)
    keys.watch()
    return Guard(keys, settings.max_queue, quotas_of(replicas))
