"""Conversations: the client's requests and their retries, without any input or output.

Each is a generator: it yields the next step, receives the outcome of the step, and returns its result.
`Client` and `AsyncClient` differ only in how they execute the steps.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice

import httpx

from azaion_client.answers import (
    REQUEST_ID,
    failure_of,
    is_per_picture,
    read_as,
    read_entries,
    read_object,
    unnamed_code,
)
from azaion_client.errors import NotReadyError, RequestFailedError, UnexpectedAnswerError, UnreachableError
from azaion_client.picture import Picture
from azaion_client.results import Detections, ModelCard
from azaion_client.retry import NOT_READY, RETRIED_BREAKS, RETRIED_STATUSES, Attempts, RetryPolicy, is_away
from azaion_client.steps import Conversation, Pause, Read, Send

POLL_S = 0.5
"""Seconds between two checks of a starting service; an engine build takes minutes."""


@dataclass(frozen=True)
class Terms:
    """Timeout and retry policy of requests.

    Attributes:
        timeout_s: Timeout of one request with all its retries, seconds.
        retry: Retry policy.
    """

    timeout_s: float
    retry: RetryPolicy


def detect(
    terms: Terms, picture: Picture, question: dict[str, str], request_id: str | None
) -> Conversation[Detections]:
    """Returns the boxes of one picture."""
    answer = yield from _post(terms, picture, question, request_id)
    return read_as(Detections, {**read_object(answer), "request_id": answer.headers.get(REQUEST_ID)}, answer)


def draw(terms: Terms, picture: Picture, question: dict[str, str], request_id: str | None) -> Conversation[bytes]:
    """Returns one picture with its boxes drawn, JPEG bytes."""
    answer = yield from _post(terms, picture, {**question, "format": "image"}, request_id)
    kind = answer.headers.get("content-type", "nothing")
    if kind.split(";")[0] != "image/jpeg":
        raise UnexpectedAnswerError(f"expected image/jpeg from {answer.url}, got {kind}")
    return answer.content


def detect_many(
    terms: Terms, pictures: Iterable[Picture], question: dict[str, str], request_id: str | None
) -> Conversation[list[Detections | RequestFailedError]]:
    """Returns one entry per picture, in order, with as few requests as the service's limit allows."""
    card = yield from model(terms)
    rest = iter(pictures)
    results: list[Detections | RequestFailedError] = []
    while some := list(islice(rest, card.limits.max_pictures)):
        parts: list[tuple[str, tuple[str, bytes, str]]] = []
        for picture in some:
            name = f"picture-{len(results) + len(parts)}"
            if isinstance(picture, str | os.PathLike):
                name = os.path.basename(picture)
            data = yield Read(picture)
            parts.append(("picture", (name, data, "application/octet-stream")))
        results += yield from _detect_parts(terms, Send("POST", "/detect", params=question, files=parts), request_id)
    return results


def model(terms: Terms) -> Conversation[ModelCard]:
    """Returns the model's card."""
    answer = yield from _answer(Send("GET", "/model"), Attempts(terms.retry, terms.timeout_s))
    return read_as(ModelCard, read_object(answer), answer)


def ready() -> Conversation[bool]:
    """Returns whether the service is ready."""
    reason = yield from _not_ready()
    return reason is None


def wait_until_ready(timeout_s: float) -> Conversation[None]:
    """Waits until the service is ready."""
    waiting = Attempts(RetryPolicy(), timeout_s)
    while reason := (yield from _not_ready()):
        if waiting.seconds_left() <= POLL_S:
            raise NotReadyError(f"not ready within {timeout_s:g} s: {reason}")
        yield Pause(POLL_S)


def question(
    confidence: float | None,
    classes: Collection[int | str] | None,
    iou: float | None = None,
    max_detections: int | None = None,
    tiles: str | int | None = None,
) -> dict[str, str]:
    """Returns the query parameters of a detection.

    Raises:
        ValueError: `classes` is empty, which the service would take as all classes.
    """
    numbers = {"confidence": confidence, "iou": iou, "max_detections": max_detections, "tiles": tiles}
    asked = {name: str(number) for name, number in numbers.items() if number is not None}
    if classes is None:
        return asked
    if not classes:
        raise ValueError("classes is empty; leave it out to get all")
    return {**asked, "classes": classes if isinstance(classes, str) else ",".join(map(str, classes))}


def _post(
    terms: Terms, picture: Picture, question: dict[str, str], request_id: str | None
) -> Conversation[httpx.Response]:
    data = yield Read(picture)
    headers = {"Content-Type": "application/octet-stream", **_named(request_id)}
    send = Send("POST", "/detect", params=question, headers=headers, content=data)
    return (yield from _answer(send, Attempts(terms.retry, terms.timeout_s)))


def _detect_parts(
    terms: Terms, send: Send, request_id: str | None
) -> Conversation[list[Detections | RequestFailedError]]:
    """Sends the parts of one request, and again those that were refused with 429 or 503."""
    attempts = Attempts(terms.retry, terms.timeout_s)
    parts = send.files or []
    results: dict[int, Detections | RequestFailedError] = {}
    asked = list(range(len(parts)))
    while True:
        again = replace(send, files=[parts[index] for index in asked], headers=_named(request_id))
        try:
            answer = yield from _answer(again, attempts)
        except (RequestFailedError, UnreachableError):
            if not results:
                raise
            break  # earlier results stay: boxes, and the errors of refused parts
        results.update(zip(asked, read_entries(answer, len(asked)), strict=True))
        refused = {
            index: entry
            for index in asked
            if isinstance(entry := results[index], RequestFailedError) and entry.status in RETRIED_STATUSES
        }
        wait = attempts.wait_after(next(iter(refused.values()))) if refused else None
        if wait is None:
            break
        asked = list(refused)
        yield Pause(wait)
    return [results[index] for index in range(len(parts))]


def _not_ready() -> Conversation[str | None]:
    """Returns why the service is not ready; None if it is."""
    outcome: httpx.Response | httpx.RequestError = yield Send("GET", "/readyz")
    if isinstance(outcome, httpx.RequestError):
        return _unreachable(outcome)
    return None if outcome.status_code == 200 else str(failure_of(outcome))


def _answer(send: Send, attempts: Attempts) -> Conversation[httpx.Response]:
    """Sends a request with its retries; returns the first answer that is no error of the whole request.

    Raises:
        RequestFailedError: The answer is an error, and a retry is not allowed or useless.
        UnreachableError: There is no answer.
    """
    while True:
        outcome: httpx.Response | httpx.RequestError = yield replace(send, timeout_s=attempts.seconds_left())
        failure: RequestFailedError | UnreachableError
        away = False
        if isinstance(outcome, httpx.RequestError):
            failure = UnreachableError(_unreachable(outcome))
            failure.__cause__ = outcome
            retried = away = isinstance(outcome, RETRIED_BREAKS)
        elif outcome.is_success or is_per_picture(outcome):
            return outcome
        else:
            failure = failure_of(outcome)
            unnamed = failure.code == unnamed_code(failure.status)
            away = is_away(failure.status, failure.message) if unnamed else failure.code == NOT_READY
            retried = away or failure.status in RETRIED_STATUSES
        wait = attempts.wait_after(failure, away) if retried else None
        if wait is None:
            raise failure
        yield Pause(wait)


def _unreachable(error: httpx.RequestError) -> str:
    return f"{error.request.url}: {type(error).__name__} {error}".rstrip()


def _named(request_id: str | None) -> dict[str, str]:
    return {REQUEST_ID: request_id} if request_id else {}
