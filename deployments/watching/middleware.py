"""RequestMiddleware: the ASGI middleware that accompanies every HTTP request and has it counted, logged and traced."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.watching import tracing
from deployments.watching.record import RequestRecord, current_request
from deployments.watching.request_id import request_id


class RequestMiddleware:
    """Fills one `RequestRecord` a request and hands it on when the request is over."""

    def __init__(self, app: ASGIApp, request_over: Callable[[RequestRecord], None]) -> None:
        """Wraps the application.

        Args:
            app: What answers.
            request_over: Told of every request.
        """
        self._app = app
        self._request_over = request_over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Accompanies one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id(scope), scope["method"])

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.respond(message["status"])
                # Now, because Serve's own span ends while the last of the answer is on its way.
                tracing.export_if_traced(record)
            await send(message)

        token = current_request.set(record)
        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError as gone:
            if not record.responded:
                record.status, record.outcome = 499, "cancelled"
                record.failed("cancelled")
            # Serve keeps this error in a frame that the error itself leads back to. Only the garbage collector ends
            # such a circle, and until then it would hold the picture.
            traceback.clear_frames(gone.__traceback__)
            raise
        except Exception:  # answered 500 by the layer outside of this one
            record.status, record.outcome = 500, "internal"
            record.failed("internal")
            raise
        finally:
            current_request.reset(token)
            record.route = getattr(scope.get("route"), "path", record.route)
            self._request_over(record)
