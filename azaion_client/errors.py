"""Every error of the client: no answer came, the answer is an error, or it is none that the service gives."""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors that a client raises on purpose; reading a picture file may raise OSError besides."""


class UnreachableError(ClientError):
    """No answer: nobody listens there, the connection broke, or the time was over."""


class NotReadyError(ClientError):
    """The service did not become ready in time; the message has its last reason."""


class UnexpectedAnswerError(ClientError):
    """The answer is a success of another shape than the service's: something else listens there."""


class RequestFailedError(ClientError):
    """The service answered with an error.

    Attributes:
        status: HTTP status.
        code: Stable name of the error, snake_case; `http_<status>` where the answer names none (proxies, Ray Serve).
        message: For people.
        request_id: The answer's X-Request-ID, if it has one.
        retry_after_s: Seconds after which the service expects a repeat, if it says so.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(status, code, message, request_id, retry_after_s)  # all of them, so that it pickles
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        known_as = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.code}: {self.message}{known_as}"


class BadPictureError(RequestFailedError):
    """The picture is empty, damaged, too large, or in a format that is not supported; sending it again is no use."""


class InvalidParameterError(RequestFailedError):
    """`confidence` or `classes` is not accepted."""


class UnavailableError(RequestFailedError):
    """429 or 503 at every attempt that the retry policy allowed."""


class OverloadedError(UnavailableError):
    """The service has more work than places for it."""


class DeadlineExceededError(RequestFailedError):
    """The service gave up on the request: its own time limit was over."""


_BY_CODE: dict[str, type[RequestFailedError]] = {
    "picture_undecodable": BadPictureError,
    "empty_body": BadPictureError,
    "not_a_picture": BadPictureError,
    "picture_too_large": BadPictureError,
    "invalid_parameter": InvalidParameterError,
    "overloaded": OverloadedError,
    "deadline_exceeded": DeadlineExceededError,
}
_BY_STATUS: dict[int, type[RequestFailedError]] = {
    408: DeadlineExceededError,  # Ray Serve's own, and a gateway's
    413: BadPictureError,  # a reverse proxy's bound on the body
    429: OverloadedError,
    503: UnavailableError,
    504: DeadlineExceededError,
}


def request_failed(
    status: int, code: str, message: str, request_id: str | None = None, retry_after_s: float | None = None
) -> RequestFailedError:
    """Returns the error of the most specific class for a code, or else for a status."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or RequestFailedError
    return kind(status, code, message, request_id, retry_after_s)
