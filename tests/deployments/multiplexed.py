"""A replica of models that are rarely used, without Ray: its requests, and what a catalogue asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any
from unittest import mock

import orjson
from ray import serve

import deployments.front
import deployments.multiplexed_deployment as deployment
from azaion_engine.detector import Detector
from deployments.catalog.records import Records
from deployments.frontends.forwarded import HttpAnswer, HttpCall
from deployments.multiplexing.rare_models import RareModels
from deployments.settings import ApplicationSettings, ServiceSettings
from tests.deployments.catalogued import DictStore
from tests.deployments.in_process import GrpcContext
from tests.stand_in import grey_picture, open_stand_in

_model: ContextVar[str] = ContextVar("model", default="")


def _multiplexed(max_num_models_per_replica: int) -> Callable[[Any], Any]:
    return lambda function: function


class Multiplexed:
    """The replica.

    Attributes:
        replica: The deployment's object.
        opened: The settings of every detector that was opened, oldest first.
        records: What each model is to serve.
    """

    def __init__(
        self, settings: ApplicationSettings, opener: Callable[[ServiceSettings], Detector], check: Any, store: DictStore
    ) -> None:
        self.opened: list[ServiceSettings] = []
        self.records = Records(store)

        def open_detector(given: ServiceSettings) -> Detector:
            self.opened.append(given)
            return opener(given)

        rare = RareModels(
            {name: settings.of_model(name) for name in settings.rare_models},
            settings.of_rare_models(),
            settings.rarely_used,
            1,
            1,
            check,
        )
        self.replica: Any = deployment.MultiplexedDeployment.func_or_class(rare, 1, open_detector)

    async def ask(
        self,
        model: str,
        path: str = "/detect",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> HttpAnswer:
        """Sends a request as the catalogue does; by default a picture."""
        body = grey_picture(7) if body is None else body
        given = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        token = _model.set(model)
        try:
            call = HttpCall(method, f"/models/{model}", path, b"", given, body if method == "POST" else b"")
            answer: HttpAnswer = await self.replica.answer(call)
            return answer
        finally:
            _model.reset(token)

    async def call(self, method: str, message: Any, model_id: str = "", **metadata: str) -> tuple[Any, GrpcContext]:
        """Calls a method over gRPC; returns its answer, and what a client learns beside it.

        Args:
            method: Its name.
            message: The request, or its bytes.
            model_id: Serve's `multiplexed_model_id`.
            **metadata: Of the call.
        """
        data = message if isinstance(message, bytes) else message.SerializeToString()
        context = GrpcContext(**metadata)
        token = _model.set(model_id)
        try:
            return await getattr(self.replica, method)(data, context), context
        finally:
            _model.reset(token)


def told(answer: HttpAnswer) -> Any:
    """Returns the JSON of an answer."""
    return orjson.loads(answer.body)


def settings_of(
    *names: str, loaded: int = 2, each: Mapping[str, Any] | None = None, **given: Any
) -> ApplicationSettings:
    """Returns settings with models that are rarely used."""
    models = {name: {"model": f"{name}.onnx", "rarely_used": True, **(each or {})} for name in names}
    return ApplicationSettings(models=models, rarely_used={"loaded": loaded}, engine="onnx", **given)


@contextmanager
def multiplexed(
    settings: ApplicationSettings,
    opener: Callable[[ServiceSettings], Detector] = open_stand_in,
    check: Callable[[ServiceSettings], None] | None = None,
    store: DictStore | None = None,
) -> Iterator[Multiplexed]:
    """Runs the replica in this process."""
    store = store or DictStore()
    limits = SimpleNamespace(max_ongoing_requests=1000)
    context = SimpleNamespace(servable_object=None, _deployment_config=limits, app_name="several._rarely_used")
    without_ray = {
        "replicas_here": lambda replicas, per_gpu: 1,
        "watched_gpu": lambda: None,
        "keep_internal_on_loopback": lambda: None,
        "RayKeyValue": lambda: store,
        "CacheMetrics": mock.DEFAULT,
    }
    needs_ray = ("ServiceMetrics", "RequestLog", "watched_gpu")
    with (
        mock.patch.object(serve, "get_replica_context", return_value=context),
        mock.patch.object(serve, "get_multiplexed_model_id", _model.get),
        mock.patch.object(serve, "multiplexed", _multiplexed),
        mock.patch.multiple(deployment, **without_ray),
        mock.patch.multiple(deployments.front, **dict.fromkeys(needs_ray, mock.DEFAULT)),
    ):
        held = Multiplexed(settings, opener, check, store)
        context.servable_object = held.replica
        yield held
        held.replica.__del__()
