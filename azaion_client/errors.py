"""Errors of the client: no answer, an error as the answer, or an answer of an unknown shape."""

from __future__ import annotations


class ClientError(Exception):
    """Base class of the client's errors; reading a picture file may also raise OSError."""


class UnreachableError(ClientError):
    """No answer: the connection was refused or broke, or the timeout expired."""


class NotReadyError(ClientError):
    """The service did not become ready in time; the message has its last reason."""


class UnexpectedAnswerError(ClientError):
    """The answer is a success, but not of the service's shape: another server listens there."""


class RequestFailedError(ClientError):
    """The service answered with an error.

    Attributes:
        status: HTTP status.
        code: Stable name of the error, snake_case; `http_<status>` where the answer names none (proxies, Ray Serve).
        message: For people.
        request_id: The answer's X-Request-ID, if it has one.
        retry_after_s: Seconds of the answer's Retry-After, if it has one.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, code, message, request_id, retry_after_s)  # all of them: pickle needs them
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        known_as = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.code}: {self.message}{known_as}"


class BadPictureError(RequestFailedError):
    """The picture is empty, damaged, too large, or in a format that is not supported; a retry is useless."""


class InvalidParameterError(RequestFailedError):
    """`confidence` or `classes` is not accepted."""


class UnavailableError(RequestFailedError):
    """429 or 503 at every attempt that the retry policy allowed."""


class OverloadedError(UnavailableError):
    """The service's queue is full."""


class LimitError(UnavailableError):
    """The key is at its rate, its daily number or its share of the queue: see `code` and `retry_after_s`."""


class AccessError(RequestFailedError):
    """The service wants a key, and the client has none, or one that is unknown, switched off or expired."""


class DeadlineExceededError(RequestFailedError):
    """The service's own timeout expired."""


_BY_CODE: dict[str, type[RequestFailedError]] = {
    "picture_undecodable": BadPictureError,
    "empty_body": BadPictureError,
    "not_a_picture": BadPictureError,
    "picture_too_large": BadPictureError,
    "invalid_parameter": InvalidParameterError,
    "overloaded": OverloadedError,
    "unauthorized": AccessError,
    "key_disabled": AccessError,
    "key_expired": AccessError,
    "model_forbidden": AccessError,
    "rate_exceeded": LimitError,
    "daily_exceeded": LimitError,
    "share_exceeded": LimitError,
    "deadline_exceeded": DeadlineExceededError,
}
_BY_STATUS: dict[int, type[RequestFailedError]] = {
    401: AccessError,  # a reverse proxy's too
    403: AccessError,
    408: DeadlineExceededError,  # from Ray Serve or a gateway
    413: BadPictureError,  # a reverse proxy's limit of the body
    429: OverloadedError,
    503: UnavailableError,
    504: DeadlineExceededError,
}


def request_failed(
    status: int, code: str, message: str, request_id: str | None = None, retry_after_s: float | None = None
) -> RequestFailedError:
    """Returns an error of the code's class; for an unknown code, of the status's class."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or RequestFailedError
    return kind(status, code, message, request_id, retry_after_s)
