"""The service without Ray: its ASGI application and its gRPC methods around a stand-in engine, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import httpx
from ray import serve

import deployments.front
from azaion_engine.detector import Detector
from deployments.access.guard import Guard
from deployments.access.keys_file import KeysFile
from deployments.access.quotas import LoneQuotas
from deployments.frontends.asgi import create_api
from deployments.frontends.open_inference.grpc_service import OpenInferenceGrpc
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.service import DetectorService
from deployments.settings import ServiceSettings
from tests.stand_in import open_stand_in


class Replica(OpenInferenceGrpc):
    """What the frontends find behind `serve.get_replica_context()`."""

    def __init__(self, service: DetectorService) -> None:
        self.service = service
        self.reception = service.reception
        self.repository = ModelRepository(service)


class GrpcContext:
    """Records the status that a gRPC method sets."""

    def __init__(self, **metadata: str) -> None:
        self.code: Any = None
        self.details = ""
        self.metadata = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        self.trailing: list[tuple[str, str]] = []

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return self.metadata

    def trailing_metadata(self) -> list[tuple[str, str]]:
        return self.trailing

    def set_trailing_metadata(self, metadata: list[tuple[str, str]]) -> None:
        self.trailing = metadata

    def request_id(self) -> str:
        return "test"

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details


@contextmanager
def replica(
    opener: Callable[[ServiceSettings], Detector] = open_stand_in, decode_threads: int = 2, **settings: Any
) -> Iterator[Replica]:
    """Runs the service, without metrics and log: both need Ray."""
    chosen = ServiceSettings(**settings)
    limits = SimpleNamespace(max_ongoing_requests=1000)  # for @serve.batch
    context = SimpleNamespace(servable_object=None, _deployment_config=limits)
    needs_ray = dict.fromkeys(("ServiceMetrics", "RequestLog", "watched_gpu"), mock.DEFAULT)
    with mock.patch.object(serve, "get_replica_context", return_value=context):
        with mock.patch.multiple(deployments.front, **needs_ray):
            guard = None
            if chosen.access is not None:
                guard = Guard(KeysFile(chosen.access.keys_file), chosen.max_queue, LoneQuotas())
            service = DetectorService(chosen, opener(chosen), decode_threads, guard)
        context.servable_object = Replica(service)
        try:
            yield context.servable_object
        finally:
            service.close()


def client() -> httpx.AsyncClient:
    """Returns a client of the ASGI application; use it inside `replica` and on one event loop."""
    transport = httpx.ASGITransport(create_api(), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://in.process", timeout=60)


def ask(path: str, picture: bytes) -> httpx.Response:
    """Posts a body to the application; use it inside `replica`, outside of an event loop."""

    async def post() -> httpx.Response:
        async with client() as asked:
            return await asked.post(path, content=picture)

    return asyncio.run(post())
