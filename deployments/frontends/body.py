"""Body: shared by all HTTP frontends: access to the replica's service, and reading a request body within limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

from fastapi import Depends, Request
from ray import serve
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from azaion_engine.errors import PictureTooLargeError
from deployments.batching.arriving import WHOLE_BODY
from deployments.reception import Reception
from deployments.service import DetectorService
from deployments.watching.record import current_request

_MOST_DIGITS = 18
"""Digits of a Content-Length that are looked at: Python refuses to convert thousands."""

_LOOPBACK = ("127.0.0.1", "::1")
_LONGEST_ADDRESS = 45
"""Characters of an IPv6 address at most."""


def this_service() -> DetectorService:
    """Returns the service that this process's replica has for a new request; to be called once for each."""
    service: DetectorService = serve.get_replica_context().servable_object.pick()
    return service


def this_reception() -> Reception:
    """Returns the reception of this process's replica, which may be a catalogue without a service."""
    reception: Reception = serve.get_replica_context().servable_object.reception
    return reception


async def _this_service() -> DetectorService:
    return this_service()  # async: FastAPI would run a plain function in a thread, for every request


async def _serving_service() -> DetectorService:
    service: DetectorService = serve.get_replica_context().servable_object.service
    return service


Service = Annotated[DetectorService, Depends(_this_service)]
"""Type of a route's parameter that receives this replica's service for a request with pictures."""

ServingService = Annotated[DetectorService, Depends(_serving_service)]
"""The same for other requests: of the version that serves, never of a canary."""


def arriving(request: Request) -> AbstractContextManager[None]:
    """Limits the number and the duration of arriving bodies, and how slowly they arrive; a whole one needs no limit.

    Raises:
        OverloadedError: Too many bodies are arriving; this one is not read, or no further.
        SlowBodyError: The body arrives too slowly.
        DeadlineExceededError: The body did not arrive in time.
    """
    if request.scope.get(WHOLE_BODY):
        return nullcontext()
    record = current_request.get()
    return this_reception().bodies.arriving(client_of(request), lambda: record.held_bytes if record is not None else 0)


def client_of(request: Request) -> str:
    """Returns the address of the client.

    It is the connection's, or the one that HAProxy on this machine adds to X-Forwarded-For. Whoever forges that header
    changes only which one of the slow bodies ends first.
    """
    address = request.client.host if request.client is not None else ""
    if address not in _LOOPBACK:
        return address
    forwarded = request.headers.getlist("x-forwarded-for")
    return forwarded[-1].rpartition(",")[2].strip()[:_LONGEST_ADDRESS] if forwarded else address


async def whole_body(request: Request, limit: int) -> bytes:
    """Reads the body; raises as `stream_body` does."""
    _refuse_declared(request, limit)
    parts: list[bytes] = []
    received, more = 0, True
    try:
        while more:  # not `stream_body`: its generators take as long as all else here
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part: bytes = message.get("body", b"")
            received += len(part)
            _hold(len(part), received, limit)
            parts.append(part)
            more = message.get("more_body", False)
    except TaskCancelledError:  # Serve's proxy noticed it before it cancelled this request
        raise ClientDisconnect from None
    return b"".join(parts)


async def stream_body(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Streams the body and stops as soon as it exceeds the limit, whatever its Content-Length.

    Raises:
        PictureTooLargeError: The body has more than `limit` bytes.
        ClientDisconnect: The client left before the end.
        OverloadedError: The bodies of all requests take too much memory.
    """
    _refuse_declared(request, limit)
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            _hold(len(chunk), received, limit)
            yield chunk
    except TaskCancelledError:
        raise ClientDisconnect from None


def _refuse_declared(request: Request, limit: int) -> None:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > _MOST_DIGITS or int(declared) > limit):
        raise PictureTooLargeError(f"the body has {declared[:_MOST_DIGITS]} bytes, at most {limit} are accepted")


def _hold(size: int, received: int, limit: int) -> None:
    """Counts the next bytes of a body in the budget of all bodies, unless the body is too large."""
    if received > limit:
        raise PictureTooLargeError(f"the body has more than {limit} bytes, which is the most accepted")
    if (record := current_request.get()) is not None:
        this_reception().hold_body(record, size)
