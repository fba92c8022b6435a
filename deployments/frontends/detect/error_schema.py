"""Error schema: the shape of every error answer, and what each status means, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

NOT_A_PICTURE: dict[str, Any] = {
    "code": "not_a_picture",
    "message": "given a GIF; accepted are JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC, JPEG XL",
    "status": 415,
}


class ErrorBody(BaseModel):
    """What went wrong; `code` is stable, `message` is for people."""

    code: str = Field(description="Stable name, snake_case.")
    message: str = Field(description="For people: what was given and what is expected.")
    status: int = Field(description="As an HTTP status.")


class ErrorAnswer(BaseModel):
    """The one shape of every error of a request."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": NOT_A_PICTURE}]})

    error: ErrorBody


ERRORS: dict[int, tuple[str, dict[str, str]]] = {
    400: (
        "The picture is damaged or empty, or the multipart body cannot be read.",
        {
            "picture_undecodable": "the JPEG is damaged or truncated: image file is truncated (22 bytes not processed)",
            "empty_body": "no bytes were sent where a picture was expected",
            "bad_request": "the multipart body has no file part; send pictures as -F picture=@file.jpg",
        },
    ),
    401: (
        "A key is needed, and none or an unknown one was sent. Only where the service asks for keys, as 403 and 429.",
        {"unauthorized": "a key is needed: send `Authorization: Bearer KEY` or `X-API-Key: KEY`"},
    ),
    403: (
        "The key is known and not in force.",
        {
            "key_disabled": "the key 'lab' is switched off",
            "key_expired": "the key 'lab' expired at 2026-12-01 00:00:00 UTC",
            "model_forbidden": "the key 'lab' is not for the model 'ships'",
        },
    ),
    408: (
        "The body arrived too slowly; the connection ends. Plain text when no replica took the request in time.",
        {"body_too_slow": "the body brought less than 2048 bytes a second for 10 s; send it faster"},
    ),
    413: (
        "Too many bytes, pixels (looked at before decoding) or pictures.",
        {"picture_too_large": "the body has 40000000 bytes, at most 33554432 are accepted"},
    ),
    415: ("Not a picture of a supported format.", {"not_a_picture": NOT_A_PICTURE["message"]}),
    422: (
        "A bad or unknown parameter, or `format=image` for several pictures.",
        {"invalid_parameter": "classes: the model has no class 'unicorn'; it has 0 car, 1 truck"},
    ),
    429: (
        "The key's pictures are at one of its limits; try again after Retry-After seconds.",
        {
            "rate_exceeded": "the key 'lab' may send 10 pictures a second; try again later",
            "daily_exceeded": "the key 'lab' has sent its 5000 pictures of today (UTC)",
            "share_exceeded": "the key 'lab' has its share of the queue (32 pictures); try again later",
        },
    ),
    500: (
        "The engine failed on this picture, or something unexpected happened. Plain text when the replica died.",
        {
            "execution_failed": "tensorrt-10.13 failed on 1 rows: out of memory",
            "internal": "an unexpected error; the server's log has the details",
        },
    ),
    503: (
        "Overloaded, out of memory, or the GPU is gone; try again after Retry-After seconds. "
        "Plain text when Ray Serve refuses.",
        {
            "overloaded": "the queue is full (128 pictures); try again later",
            "out_of_memory": "no memory was left to decode the PNG; try again later",
            "not_ready": "the service is starting or ending; try again later",
            "no_space": "the folder for temporary files cannot take the pictures of a form: [Errno 28] No "
            "space left on device",
            "gpu_lost": "the GPU is lost; a new replica is on its way",
        },
    ),
    504: ("No answer within the model card's `timeout_s`.", {"deadline_exceeded": "no answer within 30 s"}),
}
"""Status → (description, code → example message)."""


def error_answers(*statuses: int, shape: Any = ErrorAnswer) -> dict[int | str, dict[str, Any]]:
    """Describes a route's error answers for the OpenAPI document.

    Args:
        statuses: Keys of `ERRORS`.
        shape: Schema of the bodies.
    """
    answers: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        description, codes = ERRORS[status]
        examples = {
            code: {"value": {"error": {"code": code, "message": message, "status": status}}}
            for code, message in codes.items()
        }
        answers[status] = {
            "model": shape,
            "description": description,
            "content": {"application/json": {"examples": examples}},
        }
        if status == 401:
            scheme = {"description": "The scheme of the key.", "schema": {"type": "string", "const": "Bearer"}}
            answers[status]["headers"] = {"WWW-Authenticate": scheme}
        if status in (429, 503):
            seconds = {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
            answers[status]["headers"] = {"Retry-After": seconds}
    return answers
