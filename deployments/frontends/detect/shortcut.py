"""Shortcut: ASGI middleware that answers plain pictures in front of Serve's own handling of a request.

Serve spends as much of a replica's processor on a request as all else together (docs/decisions/0008).
It runs the middlewares of `deployments.frontends.ingress` before that, in the replica's process and event loop, if
HAProxy passes the requests to the replicas (`configs/throughput.env`). Of a request that is answered here Serve sees
nothing: its own request metrics and its log leave it out, and its limit on ongoing requests does not count it. The
service's own metrics, log and limits do, and a replica that stops still answers what it accepted, because its HTTP
server waits for it. Where Serve must see every request, because it scales by their number or traces them, there is no
shortcut, nor for a request with a timeout that Serve keeps.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

from ray import serve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.frontends.detect.plain_detect import is_plain
from deployments.watching.request_id import HEADER

GONE_AFTER_S = 0.25
"""Seconds after its body from which on a request looks whether its client is still there; most are answered before."""

_SERVE_TIMEOUT = b"x-request-timeout-seconds"
"""Header of a client's timeout, which Serve keeps."""

_routes: dict[str, tuple[ASGIApp, asyncio.AbstractEventLoop]] = {}
"""Path → what answers it, and on which event loop; a process has one replica."""


def offer(path: str, answer: ASGIApp) -> None:
    """Lets `Shortcut` answer a path from now on; called with Serve's context of a request to it.

    Args:
        path: The whole path, with root path and route prefix.
        answer: Answers plain pictures on this event loop.
    """
    if path not in _routes and serve.get_trace_context() is None:
        _routes[path] = (answer, asyncio.get_running_loop())


def _autoscales() -> bool:
    # Serve's own setting, which a configuration can change while the replica runs.
    config: Any = getattr(serve.get_replica_context(), "_deployment_config", None)
    return config is None or config.autoscaling_config is not None


class Shortcut:
    """Answers what was offered; passes all other requests on to Serve."""

    def __init__(self, app: ASGIApp) -> None:
        """Wraps Serve's application of a proxy or a replica; in a proxy nothing is ever offered."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        answer, loop = _routes.get(scope["path"], (None, None)) if scope["type"] == "http" else (None, None)
        headers = {} if answer is None else dict(scope["headers"])
        if (
            answer is None
            or loop is not asyncio.get_running_loop()
            or not is_plain(scope)
            or _SERVE_TIMEOUT in headers
            or _autoscales()
        ):
            await self._app(scope, receive, send)
            return
        request_id = headers.get(HEADER)
        if request_id is None:
            # Like Serve's own; unique, not secret: uuid4 would ask the kernel for each.
            request_id = str(uuid.UUID(int=random.getrandbits(128), version=4)).encode()
            scope["headers"] = [*scope["headers"], (HEADER, request_id)]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (HEADER, request_id)]}
            await send(message)

        client = _Client(receive)
        try:
            await answer(scope, client.receive, send_with_id)
        except asyncio.CancelledError:
            if not client.gone:
                raise
        finally:
            client.forget()


class _Client:
    """The client of the current task's request: cancels the task if it leaves before its answer."""

    def __init__(self, receive: Receive) -> None:
        self.gone = False
        self._receive = receive
        self._asking = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            # Not earlier: while the body arrives, its reader is told when the client leaves.
            self._timer = asyncio.get_running_loop().call_later(GONE_AFTER_S, self._begin)
        return message

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _begin(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        assert self._asking is not None  # a server calls an application in a task
        self.gone = True
        self._asking.cancel()
