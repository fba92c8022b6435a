"""X-Request-ID: a client's own id, sanitised for headers and logs before Serve uses it; and Serve's other headers.

Serve takes the client's X-Request-ID as the request's id, else makes one, and sends it with every answer, its own
errors included. It accepts any text of any length, and answers 500 to an id that is not UTF-8, as to each of the other
headers that it reads: a session, a timeout, a trace. The middleware here runs before Serve, see
`deployments.frontends.ingress`.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

MAX_LENGTH = 128
"""Characters of a client's id that are kept."""

HEADER = b"x-request-id"
"""Name of the header, as ASGI has it."""
_MODEL_ID = b"serve-multiplexed-model-id"
"""Header that is removed, with any of its hyphens an underscore, as Serve reads it. Serve would split batches by a
client's model id; this service has one model."""
_ODD = re.compile(r"[^A-Za-z0-9._:/+=@-]")


def request_id(scope: Scope) -> str:
    """Returns the sanitised id of a request's headers; empty if there is none."""
    given: bytes = dict(scope["headers"]).get(HEADER, b"")
    return safe_id(given.decode("latin-1"))


def safe_id(given: str) -> str:
    """Returns an id cut to `MAX_LENGTH`; characters that `_ODD` matches become `_`."""
    return _ODD.sub("_", given[:MAX_LENGTH])


class SafeRequestId:
    """Replaces the client's id by the sanitised one; if that is empty, Serve makes an id.

    Headers that are not UTF-8 are removed: nothing here reads one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            safe = request_id(scope).encode()
            others = [(key, value) for key, value in scope["headers"] if _passes(key, value)]
            scope = {**scope, "headers": [*others, (HEADER, safe)] if safe else others}
        await self._app(scope, receive, send)


def _passes(name: bytes, value: bytes) -> bool:
    return name != HEADER and name.replace(b"_", b"-") != _MODEL_ID and (value.isascii() or _is_utf8(value))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
