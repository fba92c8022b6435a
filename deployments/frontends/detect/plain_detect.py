"""PlainDetect: answers the most common request without FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send


class _Route(NamedTuple):
    path: str


def is_plain(scope: Scope) -> bool:
    """Returns whether a request's body is the picture: a POST without query, multipart form or an image to accept."""
    if scope["method"] != "POST" or scope["query_string"]:
        return False
    for name, value in scope["headers"]:
        if name == b"accept" and b"image/" in value.lower():
            return False
        if name == b"content-type" and value[:10].lower() == b"multipart/":
            return False
    return True


class PlainDetect:
    """ASGI middleware that answers a plain picture.

    This avoids FastAPI's work on route, parameters and dependencies for every request. The documented route takes all
    other requests, and would give the same answer to this one. Figures: `benchmarks/results/cpu_2_cores_speedups.json`.
    """

    def __init__(
        self,
        app: ASGIApp,
        path: str,
        answer: Callable[[Request], Awaitable[Response]],
        on_error: Callable[[Request, Exception], Awaitable[Response]],
        offer: Callable[[str, ASGIApp], None] = lambda path, answer: None,
    ) -> None:
        """Wraps the application.

        Args:
            app: Answers all other requests.
            path: Path of the route.
            answer: Answers such a request.
            on_error: Answers if `answer` raises.
            offer: Called with the whole path of each such request, and with what answers it.
        """
        self._app = app
        self._route = _Route(path)
        self._answer = answer
        self._on_error = on_error
        self._offer = offer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes the request on."""
        if self.takes(scope):
            self._offer(scope["path"], self.answer)
            await self.answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def takes(self, scope: Scope) -> bool:
        """Returns whether this middleware answers the request."""
        if scope["type"] != "http" or scope["path"].removeprefix(scope.get("root_path", "")) != self._route.path:
            return False
        return is_plain(scope)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a plain picture."""
        scope["route"] = self._route  # metrics and log read its path
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Exception as error:
            response = await self._on_error(request, error)
        await response(scope, receive, send)
