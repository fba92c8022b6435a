"""RequestMiddleware: ASGI middleware that records every HTTP request for metrics, log and traces."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.watching import tracing
from deployments.watching.record import RequestRecord, current_request
from deployments.watching.request_id import request_id


class RequestMiddleware:
    """Fills one `RequestRecord` per request and passes it on when the request ends."""

    def __init__(self, app: ASGIApp, request_over: Callable[[RequestRecord], None]) -> None:
        """Wraps the application.

        Args:
            app: The application.
            request_over: Called with the record of every finished request.
        """
        self._app = app
        self._request_over = request_over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles and records one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(request_id(scope), scope["method"])

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.respond(message["status"])
                # Now, because Serve's own span ends before the answer is completely sent.
                tracing.export_if_traced(record)
            await send(message)

        token = current_request.set(record)
        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError as gone:
            if not record.responded:
                record.status, record.outcome = 499, "cancelled"
                record.failed("cancelled")
            # Serve keeps this error in a frame of the error's own traceback: a reference cycle, which would hold the
            # picture until the garbage collector runs.
            traceback.clear_frames(gone.__traceback__)
            raise
        except Exception:  # the outer layer answers 500
            record.status, record.outcome = 500, "internal"
            record.failed("internal")
            raise
        finally:
            current_request.reset(token)
            record.route = getattr(scope.get("route"), "path", record.route)
            self._request_over(record)
