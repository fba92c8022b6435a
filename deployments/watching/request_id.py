"""X-Request-ID: a client's own id, made safe for headers and logs before Serve takes it over.

Serve gives every request an id, takes the client's X-Request-ID for it, and sends it back with every answer, its own
errors included; but it takes anything, of any length, and answers 500 to what is not UTF-8. The middleware here runs
before that, where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.watching.request_id:middlewares is in the
environment that Ray was started in (`make serve` does that).
"""

from __future__ import annotations

import re

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_LENGTH = 128
"""Characters of a client's id that are kept."""

_HEADER = b"x-request-id"
_DROPPED = (_HEADER, b"serve_multiplexed_model_id", b"serve-multiplexed-model-id")
"""Serve splits batches by the model id that a client may send; here there is one model."""
_ODD = re.compile(r"[^A-Za-z0-9._:/+=@-]")


def request_id(scope: Scope) -> str:
    """Returns the id in a request's headers: odd characters become `_`, what is too long is cut off."""
    given: bytes = dict(scope["headers"]).get(_HEADER, b"")
    return safe_id(given.decode("latin-1"))


def safe_id(given: str) -> str:
    """Returns an id with odd characters as `_`, cut to `MAX_LENGTH`."""
    return _ODD.sub("_", given[:MAX_LENGTH])


class SafeRequestId:
    """Puts the safe id in the place of what the client sent; Serve makes one up where that is empty."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            safe = request_id(scope).encode()
            others = [(key, value) for key, value in scope["headers"] if key not in _DROPPED]
            scope = {**scope, "headers": [*others, (_HEADER, safe)] if safe else others}
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Returns what Serve's proxies and replicas put in front of everything."""
    return [Middleware(SafeRequestId)]
