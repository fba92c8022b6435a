"""PlainDetect: the ASGI middleware that answers, without FastAPI, the request that nearly every client sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send


class _Route(NamedTuple):
    path: str


class PlainDetect:
    """Takes a POST whose body is the picture and that asks for nothing else: no query, no form, no image back.

    FastAPI works out a route, parameters and dependencies for every request, through ten layers. The documented route
    takes all other requests, and answers such a one alike.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        answer: Callable[[Request], Awaitable[Response]],
        on_error: Callable[[Request, Exception], Awaitable[Response]],
    ) -> None:
        """Wraps the application.

        Args:
            app: What answers all other requests.
            path: The route's.
            answer: Answers such a request.
            on_error: Answers where `answer` raises.
        """
        self._app = app
        self._route = _Route(path)
        self._answer = answer
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes the request on."""
        if not self.takes(scope):
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route  # what metrics and log name it by
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = await self._on_error(request, error)
        await response(scope, receive, send)

    def takes(self, scope: Scope) -> bool:
        """Tells whether it is such a request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return False
        if scope["path"].removeprefix(scope.get("root_path", "")) != self._route.path:
            return False
        headers: dict[bytes, Any] = dict(scope["headers"])
        form = headers.get(b"content-type", b"")[:10].lower() == b"multipart/"
        return not form and b"image/" not in headers.get(b"accept", b"").lower()
