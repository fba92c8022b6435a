"""Forwarding: passes a whole HTTP request to the replicas of one model, and its answer back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request, Response
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from deployments.batching.deadline import Deadline
from deployments.catalog.catalog import Catalog
from deployments.errors import ModelUnavailableError, OverloadedError
from deployments.frontends.body import arriving, whole_body
from deployments.frontends.forwarded import HttpAnswer, HttpCall
from deployments.settings import ServiceSettings
from deployments.watching.record import current_request
from deployments.watching.request_id import HEADER

_OF_THE_CONNECTION = (b"connection", b"transfer-encoding", b"expect", b"upgrade", b"keep-alive", HEADER)
"""Headers that concern the catalogue's own connection, or are set anew."""

_MOST_PROTOCOL_BYTES = 2**29
"""Largest body of a request of the Open Inference Protocol; one row of 1280² in float32 has 20 MB."""

_SLACK_S = 5.0
"""Seconds that an answer may take on its way to a replica and back, beyond the model's own timeout."""


async def _this_catalog() -> Catalog:
    catalog: Catalog = serve.get_replica_context().servable_object.catalog
    return catalog


Models = Annotated[Catalog, Depends(_this_catalog)]
"""Type of a route's parameter that receives this replica's catalogue."""


async def forward(request: Request, catalog: Catalog, model: str, path: str, query: bytes) -> Response:
    """Lets a model answer a request.

    Args:
        request: What was asked.
        catalog: The models.
        model: Name of the model.
        path: Path of the request behind the route of the model's application.
        query: What the model is asked with; it refuses parameters that it does not know.

    Raises:
        UnknownModelError: There is no such model.
        ModelUnavailableError: It has no replica that answers.
        OverloadedError: The queues of its replicas are full.
        PictureTooLargeError: As `whole_body`, like the other errors of a body.
    """
    handle = await catalog.handle(model)  # before the body is read
    body = b""
    if request.method != "GET":  # whose body has no meaning, and may come without a key
        with arriving(request):
            body = await whole_body(request, _most_bytes(catalog.settings_of(model), path))
    client = (request.client.host, request.client.port) if request.client else None
    root_path = catalog.applications.route_of(model)
    call = HttpCall(request.method, root_path, path, query, _headers(request), body, client)
    answer = await _answer(handle, call, catalog.settings_of(model).timeout_s, model)
    response = Response(answer.body, answer.status)
    response.raw_headers = [each for each in answer.headers if each[0].lower() not in _OF_THE_CONNECTION]
    return response


async def fetch(request: Request, catalog: Catalog, model: str, path: str) -> HttpAnswer:
    """Asks a model for what it answers to GET; with the headers of a request, e.g. its key.

    Args:
        request: On whose behalf.
        catalog: The models.
        model: Name of the model.
        path: Path behind the route of the model's application.

    Raises:
        UnknownModelError: As `forward`, like the other errors of the model.
    """
    call = HttpCall("GET", catalog.applications.route_of(model), path, b"", _headers(request), b"")
    return await _answer(await catalog.handle(model), call, catalog.settings_of(model).timeout_s, model)


async def _answer(handle: Any, call: HttpCall, timeout_s: float, model: str) -> HttpAnswer:
    try:
        with Deadline(timeout_s + _SLACK_S):  # the replica itself ends it before
            # By reference: a body of any size, through shared memory.
            answer: HttpAnswer = await handle.options(_by_reference=True).answer.remote(call)
    except BackPressureError as error:
        raise OverloadedError(f"the queues of all replicas of {model!r} are full; try again later") from error
    except (DeploymentUnavailableError, RayActorError) as error:
        raise ModelUnavailableError(f"the replica of {model!r} that had the request has ended; try again") from error
    return answer


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    kept = [each for each in request.headers.raw if each[0].lower() not in _OF_THE_CONNECTION]
    record = current_request.get()
    return kept if record is None else [*kept, (HEADER, record.request_id.encode())]


def _most_bytes(settings: ServiceSettings, path: str) -> int:
    """Returns the largest body that any request to a model may have; the model itself has narrower limits."""
    if path.startswith("/v2/"):
        return _MOST_PROTOCOL_BYTES
    return settings.max_picture_bytes * settings.pictures_at_once
