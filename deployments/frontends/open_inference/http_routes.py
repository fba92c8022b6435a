"""HTTP routes of the protocol, `/v2/…`, specified by KServe and extended by Triton."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from ray import serve

from azaion_engine.errors import QUOTED, quote
from deployments.batching.deadline import Deadline
from deployments.errors import InvalidRequestError, UnknownModelError
from deployments.frontends.body import Service, ServingService, arriving, whole_body
from deployments.frontends.failures import explain
from deployments.frontends.open_inference.bounds.body_limits import BodyLimits
from deployments.frontends.open_inference.http_codec import decode_request, deflate, encode_answer, inflate
from deployments.frontends.open_inference.messages import InferAnswer, InferRequest, protocol_status
from deployments.frontends.open_inference.repository import ModelRepository
from deployments.frontends.open_inference.tensors import WORTH_A_THREAD
from deployments.frontends.query import no_query
from deployments.service import DetectorService

Converted = TypeVar("Converted")

JSON_BYTES = "Inference-Header-Content-Length"
"""Header: length of the JSON, after which binary tensors begin; in requests and answers."""


_ANSWER_BYTES = 100
"""Bytes of one number of an answer: as an object, as JSON, and compressed."""


class _Route(APIRoute):
    """Turns every error of a route into the protocol's error shape, `{"error": "…"}`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                await no_query(request)
                return await handle(request)
            except Exception as error:
                failure = explain(error, request.url.path)
                return JSONResponse({"error": failure.message}, protocol_status(failure), failure.headers)

        return answer


async def _this_repository() -> ModelRepository:
    repository: ModelRepository = serve.get_replica_context().servable_object.repository
    return repository


async def _picked_repository(service: Service) -> ModelRepository:
    repository: ModelRepository = serve.get_replica_context().servable_object.repository_of(service)
    return repository


Repository = Annotated[ModelRepository, Depends(_this_repository)]
"""A route's parameter of this type is this replica's model repository, of the version that serves."""

PickedRepository = Annotated[ModelRepository, Depends(_picked_repository)]
"""The repository of the version that answers this request."""


class ProtocolError(BaseModel):
    """The protocol's one shape of errors."""

    error: str


_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ProtocolError, "description": "The request does not fit the model."},
    401: {"model": ProtocolError, "description": "A key is needed, and none or an unknown one was sent."},
    403: {"model": ProtocolError, "description": "The key is known and not in force."},
    404: {"model": ProtocolError, "description": "No such model or path."},
    413: {"model": ProtocolError, "description": "Too many bytes or pixels."},
    429: {
        "model": ProtocolError,
        "description": "The key is at one of its limits; try again after Retry-After seconds.",
    },
    500: {"model": ProtocolError, "description": "The engine failed, or something unexpected happened."},
    503: {
        "model": ProtocolError,
        "description": "Overloaded, or the GPU is gone; try again after Retry-After seconds.",
    },
    504: {"model": ProtocolError, "description": "No answer in time."},
}
_INFER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    408: {"model": ProtocolError, "description": "The body arrived too slowly; the connection ends."},
}

router = APIRouter(prefix="/v2", route_class=_Route, tags=["Open Inference Protocol"], responses=_ERRORS)


@router.get("")
async def server_metadata(repository: Repository) -> JSONResponse:
    """Tells name, version and extensions of the server."""
    return JSONResponse(repository.server_metadata())


@router.get("/health/live", response_class=Response)
async def server_live() -> Response:
    """Answers 200 as long as the process lives."""
    return Response()


@router.get("/health/ready", response_class=Response)
async def server_ready(service: ServingService) -> Response:
    """Answers 200 when requests would be answered, else the reason."""
    service.check_ready()
    return Response()


@router.get("/models/stats")
async def statistics(repository: Repository) -> JSONResponse:
    """Tells how many requests each model of this replica has answered, and how long each stage took."""
    return JSONResponse(repository.statistics())


@router.post("/repository/index")
async def repository_index(repository: Repository) -> JSONResponse:
    """Lists the models."""
    return JSONResponse(repository.index())


@router.get("/models/{name}/versions/{version}")
@router.get("/models/{name}")
async def model_metadata(repository: Repository, name: str, version: str = "") -> JSONResponse:
    """Tells the model's inputs and outputs."""
    return JSONResponse(repository.model(name, version).metadata())


@router.get("/models/{name}/versions/{version}/ready", response_class=Response)
@router.get("/models/{name}/ready", response_class=Response)
async def model_ready(service: ServingService, repository: Repository, name: str, version: str = "") -> Response:
    """Answers 200 when the model would answer, else the reason."""
    repository.model(name, version)
    service.check_ready()
    return Response()


@router.get("/models/{name}/versions/{version}/config")
@router.get("/models/{name}/config")
async def model_config(repository: Repository, name: str, version: str = "") -> JSONResponse:
    """Tells the model's configuration as Triton does."""
    return JSONResponse(repository.model(name, version).config())


@router.get("/models/{name}/versions/{version}/stats")
@router.get("/models/{name}/stats")
async def model_statistics(repository: Repository, name: str, version: str = "") -> JSONResponse:
    """Tells what the model has answered on this replica."""
    return JSONResponse(repository.statistics(name, version))


@router.post("/models/{name}/versions/{version}/infer", responses=_INFER)
@router.post("/models/{name}/infer", responses=_INFER)
async def infer(
    request: Request, service: Service, repository: PickedRepository, name: str, version: str = ""
) -> Response:
    """Runs a model; JSON or JSON with binary tensors, in and out."""
    model = repository.model(name, version)
    service.refuse_when_full()
    encoding = request.headers.get("content-encoding", "").strip().lower()
    json_bytes = _json_bytes(request)
    with arriving(request):
        body = await whole_body(request, model.limits.body_bytes(json_bytes))
    with Deadline(service.settings.timeout_s):
        # Inflated, it may be as large as the model's limit; and parsing takes as much again.
        cost = 2 * (model.limits.body_bytes(json_bytes) if encoding else len(body))
        message = await _converted(service, cost, _parse, body, encoding, json_bytes, model.limits)
        del body
        answer = await model.infer(message)
        size = sum(output.array.size for output in answer.outputs) * _ANSWER_BYTES
        accepted = ",".join(request.headers.getlist("accept-encoding"))
        return await _converted(service, size, _response, answer, message, accepted)


@router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"], include_in_schema=False)
async def not_served(request: Request, path: str) -> Response:
    """Gives the protocol's error shape to what is not served, shared memory and model loading among it."""
    raise UnknownModelError(f"no such request: {request.method} /v2/{path[:QUOTED]}")


def _json_bytes(request: Request) -> int | None:
    given = request.headers.get(JSON_BYTES)
    if given is None:
        return None
    if not given.strip().isdecimal() or len(given) > 18:
        raise InvalidRequestError(f"{JSON_BYTES}: expected a number of bytes, given {quote(given)}")
    return int(given)


def _parse(body: bytes, encoding: str, json_bytes: int | None, limits: BodyLimits) -> InferRequest:
    return decode_request(inflate(body, encoding, limits.body_bytes(json_bytes)), json_bytes, limits.values)


def _response(answer: InferAnswer, request: InferRequest, accepted: str) -> Response:
    body, json_bytes = encode_answer(answer, request)
    body, headers = deflate(body, accepted)
    if json_bytes is None:
        return Response(body, headers=headers, media_type="application/json")
    return Response(body, headers={**headers, JSON_BYTES: str(json_bytes)}, media_type="application/octet-stream")


async def _converted(
    service: DetectorService, size: int, convert: Callable[..., Converted], *arguments: Any
) -> Converted:
    return await service.convert(convert, *arguments, memory=size) if size >= WORTH_A_THREAD else convert(*arguments)
