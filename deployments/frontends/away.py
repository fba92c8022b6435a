"""Away: what a proxy answers while no replica does, instead of waiting, denying that the path exists, or plain text."""

from __future__ import annotations

import asyncio
import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READY_WITHIN_S = 0.5
"""Seconds for the answer to a probe. A probe usually waits for one second; where all replicas are starting, the proxy
may be late by a third of that. Serve waits for a replica much longer."""

PROBES = ("/readyz", "/ready")
"""Ends of the probes' paths: the service's own, and the Open Inference Protocol's for the server and for a model."""

_OF_A_MODEL = "/models/"
"""In the path of one of several models, whose route Serve keeps when it could not be deployed."""

_PATHS_KEPT = 64


class Away:
    """ASGI middleware for Serve's proxy: answers 503 in the service's error shape while the service is away.

    That is so for a probe if no replica answers it at once, and for a path that the service answered before: if Serve
    does not know it at the moment, because the application is starting again or ending (Serve's own answer is 404), and
    if Serve refuses a burst (its own answer is plain text). And for one of several models that could not be deployed.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wraps Serve's application of a proxy or a replica."""
        self._app = app
        self._answered: dict[str, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"].endswith(PROBES):
            await self._probe(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _probe(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        asked = asyncio.create_task(self._pass_on(scope, receive, keep))
        try:
            await asyncio.wait({asked}, timeout=READY_WITHIN_S)
            if asked.done():
                asked.result()
                for message in answer:
                    await send(message)
            else:
                await _refuse(send, scope["path"], "not_ready", f"no replica answered within {READY_WITHIN_S:g} s")
        finally:
            asked.cancel()  # and not waited for, as by asyncio.wait_for: Serve may take its time to give a request up

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def watched(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                failure = self._failure(scope["path"], message)
                refused = failure is not None
                if failure is not None:
                    await _refuse(send, scope["path"], *failure)
                elif message["status"] < 300 and len(self._answered) < _PATHS_KEPT:
                    self._answered[scope["path"]] = None
            if not refused:
                await send(message)

        await self._app(scope, receive, watched)

    def _failure(self, path: str, start: Message) -> tuple[str, str] | None:
        """Returns code and reason of an answer that is Serve's own: it is plain text; the service's own is JSON."""
        kind: bytes = dict(start["headers"]).get(b"content-type", b"")
        if not kind.startswith(b"text/plain"):
            return None
        if start["status"] == 500 and path.endswith(PROBES):
            return "not_ready", "the replica that was asked is gone"
        if path not in self._answered:
            before, found, _ = path.partition(_OF_A_MODEL)
            if start["status"] == 503 and found and not before.endswith("/v2"):
                return "model_unavailable", "no replica of this model takes the request, /models tells its state"
            return None
        if start["status"] == 404:
            return "not_ready", "the service is starting or ending"
        if start["status"] == 503 and "/v2/" not in path:  # which has errors of another shape
            return "overloaded", "the queues of all replicas are full"
        return None


async def _refuse(send: Send, path: str, code: str, reason: str) -> None:
    message = f"{reason}; try again later"
    error = message if "/v2/" in path else {"code": code, "message": message, "status": 503}
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"1"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
