"""MultiplexedDeployment: the Ray Serve deployment of the models that are rarely used, which share its replicas."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from azaion_engine.errors import quote
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.settings import DEFAULT_BATCH_SIZE
from azaion_engine.system.cores import available_cores
from azaion_engine.system.interpreter import switch_threads_quickly
from deployments.access.caller import known, told
from deployments.access.guard import Guard
from deployments.access.keys_file import watched_keys
from deployments.access.ledger_actor import quotas_of
from deployments.catalog.records import RayKeyValue, Records
from deployments.cluster.grpc_host import keep_internal_on_loopback
from deployments.deployment import OpenDetector
from deployments.errors import InvalidRequestError, UnknownModelError
from deployments.front import open_front
from deployments.frontends.asgi import create_multiplexed_api
from deployments.frontends.forwarded import HttpAnswer, HttpCall, answer_call
from deployments.frontends.key_check import refusal
from deployments.frontends.loading import load_timing
from deployments.frontends.open_inference.grpc_messages import named_model
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc, add_trailing
from deployments.frontends.open_inference.repository import ModelRepository, Repositories, SharedRepository
from deployments.frontends.safe_headers import SAFE_HEADERS
from deployments.multiplexing.asked import Asked, asked_model, asked_service, asking
from deployments.multiplexing.cache_metrics import CacheMetrics
from deployments.multiplexing.cache_report import CacheReport
from deployments.multiplexing.memory_bound import GpuMemory
from deployments.multiplexing.model_cache import ModelCache
from deployments.multiplexing.rare_models import RareModels
from deployments.placement import replicas_here
from deployments.reception import Reception
from deployments.service import DetectorService
from deployments.settings import ServiceSettings, model_of_protocol
from deployments.versions.version import Report, Trial, Version, Wanted
from deployments.versions.version_checks import VersionChecks
from deployments.watching.log import show_library_log
from deployments.watching.metrics import watched_gpu

logger = logging.getLogger("ray.serve")


@serve.deployment
class MultiplexedDeployment(OpenInferenceGrpc):
    """One replica: the models that it has loaded, and the frontends that call them.

    Its HTTP requests come from the catalogue, which names the model as Serve's multiplexing does: Serve prefers a
    replica that has had the model. A gRPC message names its model itself. What is in memory is the cache's to say, by
    number and by the GPU's memory, and requests in progress keep their model, which Serve's own cache would close.
    """

    def __init__(self, rare: RareModels, replicas: int, open_detector: OpenDetector) -> None:
        """Loads no model.

        Args:
            rare: The models.
            replicas: Number of replicas; those on one machine share its cores and memory.
            open_detector: Opens a detector in this process (tests put a stand-in engine here).
        """
        show_library_log()
        keep_internal_on_loopback()
        switch_threads_quickly()
        here = replicas_here(replicas, 1)
        cores = max(1, available_cores() // here)
        memory = DecodeMemory.of_machine(here * rare.sharing).limit
        self._rare = rare
        self._threads, self._memory = cores, memory
        self._open_detector = open_detector
        self._decode_threads = rare.replicas.decode_threads or cores
        self._application = serve.get_replica_context().app_name
        self._catalog = self._application.rpartition(".")[0]
        self._records = Records(RayKeyValue())
        gpu = watched_gpu()
        guard = _open_guard(rare, self._catalog)
        self._front = open_front(rare.replicas, rare.replicas.batch_size or DEFAULT_BATCH_SIZE, memory, guard)
        self._metrics = CacheMetrics(rare.models)
        self._checks = VersionChecks(self._check)
        self._cache = ModelCache(
            rare.models,
            self._open,
            rare.rarely_used.loaded,
            rare.replicas.max_queue,
            GpuMemory(gpu, rare.rarely_used.gpu_memory) if gpu is not None else None,
            self._metrics.event,
        )
        self._repositories = Repositories(lambda: self._cache.services)
        self._wanted: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._app = create_multiplexed_api()
        self._assign = serve.multiplexed(max_num_models_per_replica=rare.rarely_used.loaded)(_assigned())

    @property
    def reception(self) -> Reception:  # type: ignore[override]
        """What every request passes first."""
        return self._front.reception

    @property
    def service(self) -> DetectorService:  # type: ignore[override]
        """The service of the model of this request."""
        return asked_service()

    @property
    def repository(self) -> ModelRepository:  # type: ignore[override]
        """The models of the Open Inference Protocol of this request."""
        if asked_model() is not None:
            return self.repository_of(self.service)
        services = {each.detector.model_name: each for each in self._cache.services}
        reports = self._cache.reports()
        reasons = {name: reports[name].message for name in known(reports)}
        return SharedRepository(reasons, [self.repository_of(services[name]) for name in reasons if name in services])

    def pick(self) -> DetectorService:
        """Returns the service of the model of this request."""
        return self.service

    def repository_of(self, service: DetectorService) -> ModelRepository:
        """Returns the models of the Open Inference Protocol of a service."""
        return self._repositories.of(service)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[float]:
        """Gives the seconds that this request waited for its model, which it has until the end of the block.

        Raises:
            ModelUnavailableError: As `ModelCache.hold`, like OverloadedError.
        """
        model = asked_model()
        assert model is not None  # a request of no model holds none
        await self._assign(model)
        async with self._cache.hold(model, self._rare.models[model].timeout_s) as held:
            self._metrics.request(model)
            with asking(Asked(model, held.service)):
                yield held.waited_s

    async def answer(self, call: HttpCall) -> HttpAnswer:
        """Answers an HTTP request that came through a catalogue, as if it had come over HTTP."""
        model = serve.get_multiplexed_model_id()
        if model not in self._rare.models:
            raise UnknownModelError(f"no model {model!r} is loaded on demand here")
        with asking(Asked(model)):
            return await answer_call(self._app, call)

    async def __call__(self, request: Request) -> Response:
        """Refuses HTTP on the application's own route, which it has because Serve passes gRPC to routes only."""
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        error = UnknownModelError("no model has this route: GET /models has the path of each")
        answer = refusal(error, path)
        answer.headers.update(SAFE_HEADERS)
        return answer

    @asynccontextmanager
    async def received(self, method: str, data: bytes, grpc_context: Any) -> AsyncIterator[None]:
        """Admits a gRPC request, and holds the model that its message names until it is answered.

        As over HTTP, a model is loaded for known keys only, and an answer that waited for it says so, in the trailing
        metadata `server-timing`. What is about no model loads none.

        Raises:
            InvalidRequestError: The message names no model, or another one than Serve's `multiplexed_model_id`.
            UnknownModelError: No such model.
            BadInputError: As `OpenInferenceGrpc.received`.
            ModelUnavailableError: As `hold`.
            OverloadedError: As `hold` and `hold_message`.
        """
        key = self.key_of(method, grpc_context)
        named = named_model(method, data)
        model = model_of_protocol(named or "", self._rare.models)
        served = model if model in self._rare.models else None
        with asking(Asked(served)), await self.admitted(key, pictures=method == "ModelInfer"):
            if named is None or (not named and method == "ModelStatistics"):
                yield
                return
            self._check_named(named, served)
            self.hold_message(data)  # while it waits: the bounds of its model are not known before
            async with self.hold() as waited_s:
                add_trailing(grpc_context, load_timing(waited_s) if waited_s else {})
                yield

    async def reports(self) -> dict[str, CacheReport]:
        """Returns the state of every model in this replica."""
        return self._cache.reports()

    async def follow(self, model: str, wanted: Wanted, trial: Trial | None = None) -> tuple[str, dict[str, Report]]:
        """Closes a model whose version is no longer wanted, and checks the one that is to follow.

        Args:
            model: Its name.
            wanted: What this replica is to serve.
            trial: Not used: the serving version may not be loaded.

        Returns:
            The version that is served from now on, and how far each is, as `Versions.follow`.
        """
        serving = wanted.serving.id
        await self.keep({model: serving})
        reports = {serving: Report(state="open")}
        if wanted.candidate is not None:
            reports[wanted.candidate.id] = self._checks.report(model, wanted.candidate)
        else:
            self._checks.forget(model)
        return serving, reports

    async def keep(self, serving: Mapping[str, str]) -> None:
        """Closes models of other versions than those that are to serve; model → version."""
        loaded = self._cache.versions()
        for model, version in serving.items():
            stale = loaded.get(model) not in (None, version)
            if stale or self._wanted.get(model, version) != version:  # what could not be loaded is tried anew, too
                task = asyncio.get_running_loop().create_task(self._cache.drop(model, keep=version))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            self._wanted[model] = version

    async def check_health(self) -> None:
        """Raises an error if an engine can never run again, so that Ray replaces this replica."""
        self._cache.check_health()

    def __del__(self) -> None:
        if hasattr(self, "_cache"):
            self._checks.close()
            self._cache.close()
            self._front.close()

    def _check_named(self, named: str, model: str | None) -> None:
        served = f"served by the application {self._application}: {told(self._rare.models, 'none that the key is for')}"
        if not named:
            raise InvalidRequestError(f"the message names no model; {served}")
        if model is None:
            others = f"other models have applications of their own, {self._catalog}.NAME"
            raise UnknownModelError(f"unknown model {quote(named)}; {served}; {others}")
        model_id = serve.get_multiplexed_model_id()
        if model_id and model_of_protocol(model_id, self._rare.models) != model:
            raise InvalidRequestError(
                f"the message names the model {quote(named)}, the metadata multiplexed_model_id {quote(model_id)}: "
                "expected the same"
            )

    def _check(self, model: str, version: Version, unwanted: threading.Event) -> None:
        if self._rare.check is not None:
            self._rare.check(self._settings(model, version), unwanted)

    def _settings(self, model: str, version: Version) -> ServiceSettings:
        settings = version.applied_to(self._rare.models[model])
        threads, memory = settings.threads or self._threads, settings.max_decode_bytes or self._memory
        return settings.model_copy(update={"threads": threads, "max_decode_bytes": memory})

    def _open(self, model: str) -> DetectorService:
        record = self._records.get(f"{self._catalog}.{model}")
        own = self._rare.models[model]
        version = Version(model=own.model, sha256=own.model_sha256) if record is None else record.wanted.serving
        settings = self._settings(model, version)
        detector = self._open_detector(settings)
        detector.model_name = model
        try:
            return DetectorService(settings, detector, self._decode_threads, front=self._front)
        except BaseException:
            detector.close()
            raise


def _assigned() -> Callable[[str], Any]:
    async def assigned(model: str) -> str:
        """Returns the name: Serve keeps it, and prefers a replica that has had the model."""
        return model

    return assigned


def _open_guard(rare: RareModels, service: str) -> Guard | None:
    """Returns what admits the keys of each request to its model."""
    settings = rare.replicas
    if settings.access is None:
        return None
    keys = watched_keys(settings.access.keys_file)
    return Guard(keys, settings.max_queue, quotas_of(rare.all_replicas, service), asked_model)
