"""What every HTTP face shares: a body read within bounds, the replica that answers, when to ask it again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request
from ray import serve
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from azaion_engine.errors import PictureTooLargeError
from deployments.batching.deadline import Deadline

if TYPE_CHECKING:
    from deployments.deployment import DetectorDeployment


def this_replica() -> Any:
    """Returns the DetectorDeployment that this process serves."""
    return serve.get_replica_context().servable_object


async def _this_replica() -> Any:
    return this_replica()  # FastAPI would send a plain function to a thread, for every request


Replica = Annotated[Any, Depends(_this_replica)]


@contextmanager
def arriving(replica: DetectorDeployment) -> Iterator[None]:
    """Bounds how many clients may take how long to send a body: slow ones leave a replica able to answer probes.

    Raises:
        OverloadedError: So many bodies are arriving that this one is not to be read.
        DeadlineExceededError: It did not arrive in time.
    """
    with replica.bodies, Deadline(replica.settings.timeout_s, "the body did not arrive"):
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


def retry_after(status: int, error: Exception | None = None) -> dict[str, str]:
    """Returns the headers that tell a client when to try again: none unless the status is 503."""
    return {"Retry-After": str(getattr(error, "retry_after_s", 1))} if status == 503 else {}
