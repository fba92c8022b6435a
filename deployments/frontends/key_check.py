"""KeyCheck: ASGI middleware that asks for a key before a request's body is read."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from azaion_engine.errors import AzaionError
from deployments.access.caller import calling
from deployments.frontends.body import this_reception
from deployments.frontends.failures import explain
from deployments.watching.record import current_request

_OPEN = ("/", "/healthz", "/readyz", "/openapi.json", "/docs", "/v2/health/live", "/v2/health/ready")
_OPEN_FOLDERS = ("/page/", "/samples/", "/docs/")
"""Paths that need no key: probes, and files that ship with the library and that a browser loads without headers."""

_INFERENCE = ("/detect", "/infer")
"""Ends of the paths whose requests carry pictures, and so count in a key's limits."""

_OF_A_MODEL = re.compile("^/models/[^/]+(?=/)")
"""Begins the path of a request that a catalogue forwards."""

_FRONTENDS = ("/detect", "/model", "/v2")
"""Begins of the paths by which a refused request is counted: what follows is the client's choice."""


_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `azaion keys add`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same, in another header."},
}
"""OpenAPI's security schemes."""


class _Route(NamedTuple):
    path: str


class KeyCheck:
    """Refuses requests without a valid key (401, 403) and beyond its limits (429); does nothing if no key is needed."""

    def __init__(self, app: ASGIApp, of_catalog: bool = False) -> None:
        """Wraps the application, inside of `RequestMiddleware`, which records the key's name.

        Args:
            app: The application.
            of_catalog: Whether it forwards to models: these count the pictures in the key's limits, and what needs no
                key of a model needs none behind its path.
        """
        self._app = app
        self._of_catalog = of_catalog

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or (guard := this_reception().guard) is None:
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if is_open(path) or (self._of_catalog and _is_open_of_a_model(scope["method"], path)):
            with calling(None):
                await self._app(scope, receive, send)
            return
        record = current_request.get()
        headers = _headers(scope)
        try:
            key = guard.key_of(headers.get(b"authorization", ""), headers.get(b"x-api-key", ""))
            if record is not None:
                record.key = key.name
            pictures = not self._of_catalog and scope["method"] == "POST" and path.endswith(_INFERENCE)
            admitted = await guard.admit(key, pictures)
        except AzaionError as error:
            scope["route"] = refused_route(path)
            await refusal(error, path)(scope, receive, send)
            return
        with admitted as admission:
            await self._app(scope, receive, send)
            if admission is not None and record is not None:
                admission.ended(record.status)


def is_open(path: str) -> bool:
    """Returns whether a path, without route prefix, needs no key."""
    return path in _OPEN or path.startswith(_OPEN_FOLDERS)


def _is_open_of_a_model(method: str, path: str) -> bool:
    """Returns whether a request needs no key that a catalogue forwards; one with a body does, which would be read."""
    return method in ("GET", "HEAD") and is_open(_OF_A_MODEL.sub("", path))


def with_schemes(document: dict[str, Any]) -> dict[str, Any]:
    """Adds to an OpenAPI document how keys are sent; `{}` says that services without keys need none."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if is_open(path) else [*({scheme: []} for scheme in _SCHEMES), {}]
    return document


def _headers(scope: Scope) -> dict[bytes, str]:
    return {
        name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"authorization", b"x-api-key")
    }


def refused_route(path: str) -> NamedTuple:
    """Returns the route by which metrics and log count a request that is refused before it is routed.

    Args:
        path: The path, without route prefix.
    """
    return _Route(next((begin for begin in _FRONTENDS if path.startswith(begin)), "unknown"))


def refusal(error: AzaionError, path: str) -> JSONResponse:
    """Answers an error in the error shape of the path's protocol.

    Args:
        error: The error.
        path: The path, without route prefix.
    """
    failure = explain(error, path)
    protocol = path == "/v2" or path.startswith("/v2/")
    body: dict[str, Any] = {"error": failure.message if protocol else failure.body()}
    return JSONResponse(body, failure.status, failure.headers)
