"""Answers: reads the service's HTTP answers and its errors, and those of proxies before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from azaion_client.errors import RequestFailedError, UnexpectedAnswerError, request_failed
from azaion_client.results import Detections
from azaion_client.retry import retry_after

REQUEST_ID = "X-Request-ID"

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class _Error:
    """The service's error shape, for a whole request or for one picture."""

    code: str
    message: str
    status: int


def read_entries(answer: httpx.Response, expected: int) -> list[Detections | RequestFailedError]:
    """Reads the answer to several pictures: the detections or the error of each, in order.

    Raises:
        UnexpectedAnswerError: It has another shape, or another number of pictures than was sent.
    """
    body = read_object(answer)
    entries = body.get("pictures")
    if not isinstance(entries, list) or len(entries) != expected:
        raise UnexpectedAnswerError(f"expected {expected} pictures from {answer.url}, got {answer.text[:200]!r}")
    common = {"model": body.get("model"), "request_id": answer.headers.get(REQUEST_ID)}
    return [
        _failed(answer, entry["error"])
        if isinstance(entry, dict) and "error" in entry
        else read_as(Detections, {**entry, **common} if isinstance(entry, dict) else entry, answer)
        for entry in entries
    ]


def is_per_picture(answer: httpx.Response) -> bool:
    """Returns whether each picture carries its own error; an error status is then the first picture's."""
    try:
        return "pictures" in read_object(answer)
    except UnexpectedAnswerError:
        return False


def failure_of(answer: httpx.Response) -> RequestFailedError:
    """Reads an error answer: in the service's error shape or, from another server, by status and text."""
    try:
        return _failed(answer, read_object(answer).get("error"))
    except UnexpectedAnswerError:
        text = answer.text[:200].strip() or answer.reason_phrase
        return _failed(
            answer, {"code": unnamed_code(answer.status_code), "message": text, "status": answer.status_code}
        )


def unnamed_code(status: int) -> str:
    """Returns the code of an error answer that is not in the service's error shape."""
    return f"http_{status}"


def _failed(answer: httpx.Response, error: Any) -> RequestFailedError:
    read = read_as(_Error, error, answer)
    headers = answer.headers
    return request_failed(read.status, read.code, read.message, headers.get(REQUEST_ID), retry_after(headers))


def read_object(answer: httpx.Response) -> dict[str, Any]:
    """Reads the JSON object of an answer.

    Raises:
        UnexpectedAnswerError: The body is no JSON object.
    """
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise UnexpectedAnswerError(f"expected a JSON object from {answer.url}, got {answer.text[:200]!r}")
    return body


def read_as(shape: type[Shape], body: Any, answer: httpx.Response) -> Shape:
    """Checks a part of an answer's body, and returns it as an object of the class `shape`.

    Raises:
        UnexpectedAnswerError: It has another shape; the message names the fields.
    """
    try:
        result: Shape = _reader(shape).validate_python(body)  # type: ignore[arg-type]  # mypy: a type is hashable
    except ValidationError as error:
        raise UnexpectedAnswerError(f"{answer.url} answered no {shape.__name__.strip('_')}: {error}") from error
    return result


@cache
def _reader(shape: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(shape)  # built on first use: compiling a schema is slow
