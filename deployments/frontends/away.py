"""Away: what a proxy answers while no replica does, instead of waiting or of denying that the path exists."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READY_WITHIN_S = 0.8
"""Seconds for the answer to `/readyz`; probes usually wait for one second, Serve for a replica much longer."""

_PATHS_KEPT = 64


class Away:
    """ASGI middleware for Serve's proxy: answers 503 in the service's error shape while the service is away.

    That is so for `/readyz` if no replica answers it at once, and for a path that the service answered before and that
    Serve does not know at the moment, because the application is starting again or ending: Serve's own answer is 404.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wraps Serve's application of a proxy or a replica."""
        self._app = app
        self._answered: dict[str, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].endswith("/readyz"):
            await self._probe(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _probe(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        try:
            await asyncio.wait_for(self._pass_on(scope, receive, keep), READY_WITHIN_S)
        except asyncio.TimeoutError:
            await _refuse(send, f"no replica answered within {READY_WITHIN_S:g} s")
            return
        for message in answer:
            await send(message)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def watched(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = scope["path"] in self._answered and _is_unknown_to_serve(message)
                if refused:
                    await _refuse(send, "the service is starting or ending")
                elif message["status"] < 300 and len(self._answered) < _PATHS_KEPT:
                    self._answered[scope["path"]] = None
            if not refused:
                await send(message)

        await self._app(scope, receive, watched)


def _is_unknown_to_serve(start: Message) -> bool:
    """Returns whether an answer is Serve's 404, which is plain text; the service's own is JSON."""
    kind: bytes = dict(start["headers"]).get(b"content-type", b"")
    return start["status"] == 404 and kind.startswith(b"text/plain")


async def _refuse(send: Send, reason: str) -> None:
    error = {"code": "not_ready", "message": f"{reason}; try again later", "status": 503}
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
