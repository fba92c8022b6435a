"""Ingress: what runs in front of Serve's own handling of a request.

RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=deployments.frontends.ingress:middlewares in the environment of Ray's start
makes Serve use it in every proxy and replica; `azaion serve` sets it.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from deployments.cluster.grpc_host import listen_where_told
from deployments.frontends.away import Away
from deployments.frontends.detect.shortcut import Shortcut
from deployments.frontends.http_server import protocol
from deployments.watching.request_id import SafeRequestId


def middlewares() -> list[Middleware]:
    """Returns the middlewares, the innermost first.

    The HTTP server that Serve then starts reads all bodies; its gRPC server listens where AZAION_GRPC_HOST says.
    """
    protocol.install()
    listen_where_told()
    return [Middleware(Away), Middleware(Shortcut), Middleware(SafeRequestId)]
