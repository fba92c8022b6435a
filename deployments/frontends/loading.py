"""Loading: ASGI middleware that gets a request its model where models are loaded on demand."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from ray import serve
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from azaion_engine.errors import AzaionError
from deployments.frontends.key_check import is_open, refusal, refused_route

_PROBES = ("/readyz", "/v2/health/ready")
"""Answered without the model: a probe must not load it."""


class Loading:
    """Holds the model of a request until it is answered, and loads it first if need be.

    An answer that waited says so: `Server-Timing: load;dur=` with milliseconds.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wraps the application, inside of `KeyCheck`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in _PROBES:
            answer = JSONResponse({"status": "ready"}) if path == _PROBES[0] else Response()
            await answer(scope, receive, send)
            return
        if is_open(path):
            await self._app(scope, receive, send)
            return
        replica: Any = serve.get_replica_context().servable_object
        async with AsyncExitStack() as held:
            try:
                waited_s: float = await held.enter_async_context(replica.hold())
            except AzaionError as error:
                scope["route"] = refused_route(path)
                await refusal(error, path)(scope, receive, send)
                return
            await self._app(scope, receive, _timed(send, waited_s) if waited_s else send)


def load_timing(waited_s: float) -> dict[str, str]:
    """Returns the header of an answer that waited for its model."""
    return {"Server-Timing": f"load;dur={waited_s * 1000:.3f}"}


def _timed(send: Send, waited_s: float) -> Send:
    timing = [(name.lower().encode(), value.encode()) for name, value in load_timing(waited_s).items()]

    async def send_timed(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *timing]}
        await send(message)

    return send_timed
