"""Failure: an error as a frontend answers it, the same for every protocol."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from azaion_engine.errors import AzaionError, quote
from deployments.errors import status_of
from deployments.frontends.safe_headers import SAFE_HEADERS
from deployments.watching.record import current_request

logger = logging.getLogger("ray.serve")

_MOST_TEXT = 2000
"""Maximum characters of a message; those of input within it are cut before (`azaion_engine.errors.quote`)."""

_HTTP_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}


class Failure(NamedTuple):
    """One error, as clients see it.

    Attributes:
        code: Stable name, snake_case.
        message: For people: what was given and what is expected.
        status: HTTP status.
        retry_after_s: Whole seconds after which a retry is sensible.
    """

    code: str
    message: str
    status: int
    retry_after_s: int = 1

    @property
    def headers(self) -> dict[str, str]:
        """Returns Retry-After, WWW-Authenticate or Connection where the status asks for it.

        408 ends the connection (RFC 9110, 15.5.9).
        """
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {"Connection": "close"} if self.status == 408 else retry_after(self.status, self.retry_after_s)

    def body(self) -> dict[str, Any]:
        """Returns the JSON error object of `/detect`."""
        return {"code": self.code, "message": self.message, "status": self.status}


def retry_after(status: int, seconds: int = 1) -> dict[str, str]:
    """Returns the Retry-After header if the status is 429 or 503, else an empty dict."""
    return {"Retry-After": str(seconds)} if status in (429, 503) else {}


def explain(error: Exception, where: str) -> Failure:
    """Converts an error to a failure, and records its code for the current request.

    Args:
        error: What was raised; an unexpected error is logged, and its text is not shown.
        where: The path, method or picture, for the log.
    """
    failure = _failure_of(error, where)
    if (record := current_request.get()) is not None:
        record.failed(failure.code)
    return failure


def _failure_of(error: Exception, where: str) -> Failure:
    if isinstance(error, AzaionError):
        return Failure(error.code, _shortened(str(error)), status_of(error), getattr(error, "retry_after_s", 1))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"] if part not in ("query", "form"))
        return Failure("invalid_parameter", f"{name}: {first['msg']}, given {quote(first.get('input'))}", 422)
    if isinstance(error, HTTPException):
        return Failure(
            _HTTP_CODES.get(error.status_code, "http_error"), _shortened(str(error.detail)), error.status_code
        )
    if isinstance(error, ClientDisconnect):
        return Failure("cancelled", "the client left before its picture had arrived", 499)
    logger.error("unexpected error in %s", where, exc_info=error)
    return Failure("internal", "an unexpected error; the server's log has the details", 500)


def _shortened(message: str) -> str:
    """Cuts a message: gRPC drops an answer with the status if its metadata exceed 8 KiB."""
    return message if len(message) <= _MOST_TEXT else f"{message[:_MOST_TEXT]}…"


async def answer_failure(request: Request, error: Exception) -> JSONResponse:
    """Answers an error with the JSON error object of `/detect`."""
    failure = explain(error, request.url.path)
    headers = getattr(error, "headers", None) or {}  # a 405 has an Allow header
    # An unexpected error is answered outside of the middleware that adds the safe headers.
    return JSONResponse({"error": failure.body()}, failure.status, {**SAFE_HEADERS, **headers, **failure.headers})
