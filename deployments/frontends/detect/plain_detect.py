"""PlainDetect: ASGI middleware that answers the most common request without FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send


class _Route(NamedTuple):
    path: str


class PlainDetect:
    """Takes a POST whose body is the picture, without a query, a multipart form or an image in the Accept header.

    This avoids FastAPI's work on route, parameters and dependencies for every request. The documented route takes all
    other requests, and would give the same answer to this one. Figures: `benchmarks/results/cpu_2_cores_speedups.json`.
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
            app: Answers all other requests.
            path: Path of the route.
            answer: Answers such a request.
            on_error: Answers if `answer` raises.
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
        scope["route"] = self._route  # metrics and log read its path
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = await self._on_error(request, error)
        await response(scope, receive, send)

    def takes(self, scope: Scope) -> bool:
        """Returns whether this middleware answers the request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return False
        if scope["path"].removeprefix(scope.get("root_path", "")) != self._route.path:
            return False
        headers: dict[bytes, Any] = dict(scope["headers"])
        form = headers.get(b"content-type", b"")[:10].lower() == b"multipart/"
        return not form and b"image/" not in headers.get(b"accept", b"").lower()
