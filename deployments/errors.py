"""Errors of the service, and the status and report of every error; each frontend defines its own error body."""

from __future__ import annotations

from azaion_engine.errors import AzaionError, BadInputError


class InvalidRequestError(BadInputError):
    """A message of the Open Inference Protocol that is malformed or does not fit the model's tensors."""

    code = "invalid_request"


class UnknownModelError(BadInputError):
    """No model of that name and version is served here."""

    code = "unknown_model"


class LaterError(AzaionError):
    """The caller may try again after `retry_after_s`.

    Attributes:
        retry_after_s: Whole seconds after which a retry is sensible (the Retry-After header).
    """

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(LaterError):
    """A bounded queue is full."""

    code = "overloaded"


class ModelUnavailableError(LaterError):
    """One of several models has no replica that answers: it starts, failed, or is being replaced."""

    code = "model_unavailable"


class VersionRefusedError(AzaionError):
    """A new version of a model cannot be served; the one before it goes on."""

    code = "version_refused"


class SlowBodyError(AzaionError):
    """A body arrives so slowly that it would hold its place for others too long."""

    code = "body_too_slow"


class UnauthorizedError(BadInputError):
    """The request has no key, or one that is unknown here."""

    code = "unauthorized"


class KeyDisabledError(BadInputError):
    """The key is known and switched off."""

    code = "key_disabled"


class KeyExpiredError(BadInputError):
    """The key is known and its time is over."""

    code = "key_expired"


class ModelForbiddenError(BadInputError):
    """The key is known and not for this model."""

    code = "model_forbidden"


class LimitError(LaterError, BadInputError):
    """A key may not send more now."""


class RateLimitError(LimitError):
    """More pictures a second than the key may send."""

    code = "rate_exceeded"


class DailyLimitError(LimitError):
    """More pictures today than the key may send."""

    code = "daily_exceeded"


class ShareLimitError(LimitError):
    """The key's pictures take its share of the queue."""

    code = "share_exceeded"


class NoSpaceError(AzaionError):
    """The folder for temporary files is full or cannot be used."""

    code = "no_space"


class DeadlineExceededError(AzaionError):
    """The answer was not ready within the configured timeout."""

    code = "deadline_exceeded"


_STATUSES = {
    "bad_input": 422,
    "invalid_tensor": 422,
    "invalid_parameter": 422,
    "too_many_boxes": 422,
    "invalid_request": 400,
    "unauthorized": 401,
    "key_disabled": 403,
    "key_expired": 403,
    "model_forbidden": 403,
    "unknown_model": 404,
    "picture_undecodable": 400,
    "empty_body": 400,
    "not_a_picture": 415,
    "body_too_slow": 408,
    "picture_too_large": 413,
    "rate_exceeded": 429,
    "daily_exceeded": 429,
    "share_exceeded": 429,
    "overloaded": 503,
    "model_unavailable": 503,
    "no_space": 503,
    "engine_closed": 503,
    "gpu_lost": 503,
    "out_of_memory": 503,
    "deadline_exceeded": 504,
}
"""HTTP status by code; any other code is an error for the operator: 500."""


_REPORTED = 500
"""Characters of an error that a report keeps."""


def reported(error: Exception) -> str:
    """Returns what a report says of an error: the beginning of its message, or its type where it has none."""
    return str(error)[:_REPORTED] or type(error).__name__


def status_of(error: AzaionError) -> int:
    """Returns the HTTP status of the answer that carries an error."""
    return _STATUSES.get(error.code, 500)
