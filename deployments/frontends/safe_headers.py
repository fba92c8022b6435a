"""SafeHeaders: ASGI middleware that gives every answer the headers that keep browsers from misusing it."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAFE_HEADERS = {
    # Answers are data: a browser that shows one loads nothing, runs nothing and puts it into no frame.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""Headers of every answer that brings none of its own."""

_ENCODED = {name.lower().encode(): value.encode() for name, value in SAFE_HEADERS.items()}


class SafeHeaders:
    """Adds `SAFE_HEADERS`, and makes redirects relative: their host came from the request's Host header."""

    def __init__(self, app: ASGIApp) -> None:
        """Wraps the application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = [
                    (name, _relative(value) if name.lower() == b"location" else value)
                    for name, value in message["headers"]
                ]
                names = {name.lower() for name, _ in given}
                added = [(name, value) for name, value in _ENCODED.items() if name not in names]
                message = {**message, "headers": given + added}
            await send(message)

        await self._app(scope, receive, send_safely)


def _relative(location: bytes) -> bytes:
    parts = urlsplit(location.decode("latin-1"))
    # One slash: a browser takes what follows two of them for another host.
    return urlunsplit(("", "", "/" + parts.path.lstrip("/\\"), parts.query, "")).encode("latin-1")
