"""PlainRoute: the shortest way through FastAPI, for the request that nearly every client sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.routing import Match, Route
from starlette.types import Scope


class PlainRoute(Route):
    """Takes a POST whose body is the picture and that asks for nothing else: no query, no form, no image back.

    FastAPI works out parameters and dependencies for every request; without, a 445 KB picture costs the replica 0.98 ms
    of processor time instead of 1.14 (decoding and engine aside). The documented route takes all other requests.
    """

    def matches(self, scope: Scope) -> tuple[Match, Mapping[str, Any]]:  # type: ignore[override]
        """Tells whether it is for this request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
            return Match.NONE, {}
        for name, value in scope["headers"]:
            if (name == b"content-type" and value.lower().startswith(b"multipart/")) or (
                name == b"accept" and b"image/" in value.lower()
            ):
                return Match.NONE, {}
        match, child = super().matches(scope)
        return match, {**child, "route": self}
