"""Failure: what clients see of each error, by `explain` and in the answers of a small application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from azaion_engine.errors import AzaionError, GpuLostError, ModelError, PictureTooLargeError
from deployments.errors import DeadlineExceededError, OverloadedError, status_of
from deployments.frontends.failures import Failure, answer_failure, explain, logger, retry_after
from deployments.watching.record import RequestRecord, current_request
from tests.deployments.test_errors import every_error

Ask = Callable[[str, str], httpx.Response]
"""Sends a request of a method to a path."""


@pytest.fixture
def record() -> Iterator[RequestRecord]:
    """The record of a request that is current during the test."""
    record = RequestRecord("id-1", "POST")
    token = current_request.set(record)
    yield record
    current_request.reset(token)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """The log of this module; Serve's logger does not propagate once Serve has set it up."""
    monkeypatch.setattr(logger, "propagate", True)
    return caplog


ERRORS: dict[str, Exception] = {
    "picture": PictureTooLargeError("the picture has 9 bytes, at most 8 are accepted"),
    "model": ModelError("no boxes"),
    "gpu": GpuLostError("the GPU fell off the bus"),
    "queue": OverloadedError("the queue is full", retry_after_s=7),
    "late": DeadlineExceededError("too late"),
    "teapot": HTTPException(418, "I am a teapot"),
    "busy": HTTPException(503, "try the other one", headers={"X-Other": "here"}),
    "left": ClientDisconnect(),
    "secret": RuntimeError("a password"),
}


@pytest.fixture(scope="module")
def ask() -> Ask:
    """Sends a request to an application that raises the named error, and answers it as the service does."""
    app = FastAPI()

    @app.post("/raise/{name}")
    def fail(name: str) -> None:
        raise ERRORS[name]

    @app.get("/limited")
    def limited(most: Annotated[int, Query(ge=1)], confidence: float = 0.5) -> int:
        return most

    for kind in (AzaionError, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, answer_failure)

    async def call(method: str, path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path)

    return lambda method, path: asyncio.run(call(method, path))


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_raised_on_purpose_is_shown_with_its_own_code_words_and_status(
    kind: type[AzaionError], logged: pytest.LogCaptureFixture
) -> None:
    error = kind("what happened")
    assert explain(error, "/detect") == Failure(kind.code, "what happened", status_of(error), 1)
    assert not logged.records


def test_an_unexpected_error_is_logged_and_not_shown(logged: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("a password")
    failure = explain(error, "picture 'a.jpg'")
    assert failure == Failure("internal", "an unexpected error; the server's log has the details", 500)
    [line] = logged.records
    assert line.levelno == logging.ERROR
    assert line.getMessage() == "unexpected error in picture 'a.jpg'"
    assert line.exc_info is not None
    assert line.exc_info[1] is error


def test_a_failure_counts_with_the_current_request(record: RequestRecord) -> None:
    explain(PictureTooLargeError("large"), "/detect")
    explain(RuntimeError("a password"), "/detect")
    explain(ClientDisconnect(), "/detect")
    assert record.errors == ["picture_too_large", "internal", "cancelled"]


def test_a_failure_without_a_request_counts_nowhere() -> None:
    assert current_request.get() is None
    assert explain(GpuLostError("gone"), "a handle").code == "gpu_lost"


def test_only_a_429_and_a_503_say_when_to_try_again() -> None:
    for status in (429, 503):
        assert retry_after(status) == {"Retry-After": "1"}
        assert retry_after(status, 7) == {"Retry-After": "7"}
    for status in (400, 422, 499, 500, 504):
        assert retry_after(status, 7) == {}
    assert Failure("overloaded", "full", 503, 7).headers == {"Retry-After": "7"}
    assert Failure("internal", "failed", 500, 7).headers == {}


@pytest.mark.parametrize(
    ("name", "status", "code", "message", "again"),
    [
        ("picture", 413, "picture_too_large", "the picture has 9 bytes, at most 8 are accepted", None),
        ("model", 500, "model_unsupported", "no boxes", None),
        ("gpu", 503, "gpu_lost", "the GPU fell off the bus", "1"),
        ("queue", 503, "overloaded", "the queue is full", "7"),
        ("late", 504, "deadline_exceeded", "too late", None),
        ("teapot", 418, "http_error", "I am a teapot", None),
        ("left", 499, "cancelled", "the client left before its picture had arrived", None),
    ],
)
def test_every_failure_is_answered_in_one_shape(
    ask: Ask, name: str, status: int, code: str, message: str, again: str | None
) -> None:
    response = ask("POST", f"/raise/{name}")
    assert response.status_code == status
    assert response.json() == {"error": {"code": code, "message": message, "status": status}}
    assert response.headers.get("Retry-After") == again


def test_an_unexpected_error_shows_clients_nothing_of_itself(ask: Ask) -> None:
    response = ask("POST", "/raise/secret")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal"
    assert "password" not in response.text
    assert "Traceback" not in response.text


def test_a_path_or_a_method_that_there_is_none_of_has_its_own_code(ask: Ask) -> None:
    unknown = ask("GET", "/nothing")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    wrong = ask("PUT", "/limited")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET"


def test_headers_of_an_error_and_the_time_to_try_again_come_together(ask: Ask) -> None:
    response = ask("POST", "/raise/busy")
    assert response.status_code == 503
    assert (response.headers["X-Other"], response.headers["Retry-After"]) == ("here", "1")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("most=0", ("most: ", "given '0'")),
        ("most=many", ("most: ", "given 'many'")),
        ("", ("most: ", "given None")),
        ("most=1&confidence=x", ("confidence: ", "given 'x'")),
    ],
)
def test_a_parameter_that_is_wrong_is_named_with_what_was_given(ask: Ask, query: str, told: tuple[str, str]) -> None:
    response = ask("GET", f"/limited?{query}")
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["status"]) == (422, "invalid_parameter", 422)
    assert error["message"].startswith(told[0])
    assert error["message"].endswith(told[1])
