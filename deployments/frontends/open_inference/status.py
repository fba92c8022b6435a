"""Errors as the protocol shows them: a status and one line of text."""

from __future__ import annotations

import logging

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from azaion_engine.errors import AzaionError

logger = logging.getLogger("ray.serve")

_TO_400 = {415, 422}
"""Statuses of `POST /detect` that speak of its body or its query; here both are parts of one message."""

GRPC_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of the gRPC status codes; INTERNAL for every other status."""


def describe(error: Exception, where: str) -> tuple[int, str]:
    """Returns the HTTP status and the text of an error; what was not raised on purpose is logged and not shown.

    Args:
        error: What a route or method raised.
        where: Which one, for the log.
    """
    if isinstance(error, AzaionError):
        return 400 if error.http_status in _TO_400 else error.http_status, str(error)
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    if isinstance(error, RequestValidationError):
        return 400, str(error.errors()[0]["msg"])
    logger.error("unexpected error in %s", where, exc_info=error)
    return 500, "an unexpected error; the server's log has the details"


def error_code(error: Exception, status: int) -> str:
    """Returns the stable name of an error, as `POST /detect` has it, for metrics and log."""
    if isinstance(error, AzaionError):
        return error.code
    return {404: "not_found", 405: "method_not_allowed", 500: "internal"}.get(status, "bad_request")
