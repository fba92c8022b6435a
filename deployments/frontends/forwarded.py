"""Forwarded: an HTTP request that a catalogue passes to a replica through Serve's handle, and its answer."""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import ASGIApp, Message, Scope

Headers = list[tuple[bytes, bytes]]


class HttpCall(NamedTuple):
    """A whole HTTP request.

    Attributes:
        method: Its method.
        root_path: Route of the model's application, without the last slash.
        path: Path behind it, e.g. `/detect`.
        query: Query, without the question mark.
        headers: As in ASGI.
        body: All of it.
        client: Address of the client and its port, as in ASGI; None if unknown.
    """

    method: str
    root_path: str
    path: str
    query: bytes
    headers: Headers
    body: bytes
    client: tuple[str, int] | None = None


class HttpAnswer(NamedTuple):
    """A whole answer.

    Attributes:
        status: HTTP status.
        headers: As in ASGI.
        body: All of it.
    """

    status: int
    headers: Headers
    body: bytes


async def answer_call(app: ASGIApp, call: HttpCall) -> HttpAnswer:
    """Runs an ASGI application on one request.

    Args:
        app: Answers it.
        call: The request.
    """
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": call.root_path + call.path,
        "raw_path": (call.root_path + call.path).encode(),
        "root_path": call.root_path,
        "query_string": call.query,
        "headers": call.headers,
        "client": call.client,
        "server": None,
    }
    start: Message = {}
    parts: list[bytes] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": call.body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            parts.append(message.get("body", b""))

    try:
        await app(scope, receive, send)
    except Exception:
        if not start:  # else it was answered, and is raised for the server's log
            raise
    return HttpAnswer(start["status"], list(start["headers"]), b"".join(parts))
