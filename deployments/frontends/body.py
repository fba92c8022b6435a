"""Body: what every HTTP frontend shares, the service that answers and a body read within bounds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from ray import serve
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from azaion_engine.errors import PictureTooLargeError
from deployments.batching.deadline import Deadline
from deployments.service import DetectorService


def this_service() -> DetectorService:
    """Returns the service of this process's replica."""
    service: DetectorService = serve.get_replica_context().servable_object.service
    return service


async def _this_service() -> DetectorService:
    return this_service()  # FastAPI would send a plain function to a thread, for every request


Service = Annotated[DetectorService, Depends(_this_service)]
"""A route's parameter of this type is this replica's service."""


@contextmanager
def arriving(service: DetectorService) -> Iterator[None]:
    """Bounds how many clients may take how long to send a body: slow ones leave a replica able to answer probes.

    Raises:
        OverloadedError: So many bodies are arriving that this one is not read.
        DeadlineExceededError: It did not arrive in time.
    """
    with service.bodies, Deadline(service.settings.timeout_s, "the body did not arrive"):
        yield


async def whole_body(request: Request, limit: int) -> bytes:
    """Reads the body; raises as `stream_body` does."""
    return b"".join([chunk async for chunk in stream_body(request, limit)])


async def stream_body(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Streams the body and stops as soon as it is larger than the limit, whatever its header said.

    Raises:
        PictureTooLargeError: It has more than `limit` bytes.
        ClientDisconnect: The client left before the end.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise PictureTooLargeError(f"the body has {declared} bytes, at most {limit} are accepted")
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise PictureTooLargeError(f"the body has more than {limit} bytes, which is the most accepted")
            yield chunk
    except TaskCancelledError:  # Serve's proxy has noticed, and has not yet cancelled this request
        raise ClientDisconnect from None
