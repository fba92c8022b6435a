"""Routes of the Open Inference Protocol, `/v2/…`, for several models: about the server, and forwarded to a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from azaion_engine.errors import QUOTED
from azaion_engine.version import __version__
from deployments.access.caller import known, told
from deployments.catalog.catalog import Catalog
from deployments.errors import ModelUnavailableError, UnknownModelError
from deployments.frontends.catalog.forwarding import Models, fetch, forward
from deployments.frontends.failures import explain
from deployments.frontends.open_inference.messages import protocol_status
from deployments.frontends.open_inference.repository import EXTENSIONS
from deployments.settings import RAW

_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


class _Route(APIRoute):
    """Turns every error of a route into the protocol's error shape, `{"error": "…"}`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                failure = explain(error, request.url.path)
                return JSONResponse({"error": failure.message}, protocol_status(failure), failure.headers)

        return answer


router = APIRouter(prefix="/v2", route_class=_Route, tags=["Open Inference Protocol"])


@router.get("")
async def server_metadata() -> JSONResponse:
    """Tells name, version and extensions of the server."""
    return JSONResponse({"name": "azaion-engine", "version": __version__, "extensions": EXTENSIONS})


@router.get("/health/live", response_class=Response)
async def server_live() -> Response:
    """Answers 200 as long as the process lives."""
    return Response()


@router.get("/health/ready", response_class=Response)
async def server_ready(catalog: Models) -> Response:
    """Answers 200 when every model answers, else which do not: the protocol's meaning of a server that is ready."""
    away = [name for name, state in (await catalog.states()).items() if not state.answers]
    if away:
        raise ModelUnavailableError(f"not served now: {told(away, 'at least one model')}")
    return Response()


@router.post("/repository/index")
async def repository_index(catalog: Models) -> JSONResponse:
    """Lists the models that the key is for, each with its raw input beside it, with state and reason."""
    entries, seen = [], await catalog.seen()
    for name in known(seen):
        state = "READY" if seen[name].answers else "UNAVAILABLE"
        told = {"version": "1", "state": state, "reason": seen[name].message}
        entries += [{"name": each, **told} for each in (name, name + RAW)]
    return JSONResponse(entries)


@router.get("/models/stats")
async def statistics(request: Request, catalog: Models) -> JSONResponse:
    """Tells what each model that answers has done, on one of its replicas; loads none for it."""
    found = await asyncio.gather(*(_statistics(request, catalog, name) for name in known(await catalog.in_memory())))
    return JSONResponse({"model_stats": [entry for entries in found for entry in entries]})


@router.api_route("/models/{name}", methods=_METHODS, include_in_schema=False)
@router.api_route("/models/{name}/{path:path}", methods=_METHODS, include_in_schema=False)
async def of_a_model(request: Request, catalog: Models, name: str, path: str = "") -> Response:
    """Lets the model of that name answer."""
    behind = f"/{path}" if path else ""
    query = request.scope["query_string"]
    return await forward(request, catalog, catalog.of_protocol(name), f"/v2/models/{name}{behind}", query)


@router.api_route("/{path:path}", methods=_METHODS, include_in_schema=False)
async def not_served(request: Request, path: str) -> Response:
    """Gives the protocol's error shape to what is not served."""
    raise UnknownModelError(f"no such request: {request.method} /v2/{path[:QUOTED]}")


async def _statistics(request: Request, catalog: Catalog, name: str) -> list[dict[str, Any]]:
    answer = await fetch(request, catalog, name, "/v2/models/stats")
    entries: list[dict[str, Any]] = json.loads(answer.body)["model_stats"] if answer.status == 200 else []
    return entries
