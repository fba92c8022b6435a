"""The shapes of the HTTP answers, for the OpenAPI document; the routes write plain dictionaries of these shapes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

ERROR_STATUSES = {
    400: "The picture is damaged or empty, or the multipart body cannot be read.",
    413: "Too many bytes, pixels or pictures.",
    415: "Not a picture of a supported format.",
    422: "A bad parameter, or `format=image` for several pictures.",
    503: "Overloaded, or the GPU is gone; try again after Retry-After seconds.",
    504: "No answer in time.",
}

DETECT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The boxes, or with `format=image` the picture with the boxes drawn.",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    }
}

DETECT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{
                kind: {"schema": {"type": "string", "format": "binary"}}
                for kind in ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff")
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"picture": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
        },
    }
}


class Size(BaseModel):
    """Pixels, after the picture was turned upright."""

    width: int
    height: int


class Box(BaseModel):
    """One object; corners in pixels of the upright picture, origin at its top left."""

    x1: float
    y1: float
    x2: float
    y2: float
    confidence: float = Field(ge=0, le=1)
    class_id: int
    class_name: str


class Timing(BaseModel):
    """Milliseconds of each stage."""

    decode: float
    queue: float = Field(description="Waiting for the engine.")
    engine: float = Field(description="The whole batch that the picture was in.")
    total: float


class ModelName(BaseModel):
    """Which model answered, and on what."""

    name: str
    engine: str


class DetectAnswer(BaseModel):
    """What was found in the picture, most confident first."""

    picture: Size
    boxes: list[Box]
    timing_ms: Timing
    model: ModelName


class ErrorBody(BaseModel):
    """What went wrong; `code` is stable, `message` is for people."""

    code: str
    message: str
    status: int


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


class OnePicture(BaseModel):
    """One picture of several: its boxes, or its own error."""

    name: str | None
    picture: Size | None = None
    boxes: list[Box] | None = None
    timing_ms: Timing | None = None
    error: ErrorBody | None = None


class DetectManyAnswer(BaseModel):
    """One entry a picture, in the order sent."""

    pictures: list[OnePicture]
    model: ModelName


class Limits(BaseModel):
    """What is accepted."""

    max_picture_bytes: int
    max_picture_pixels: int
    max_pictures: int
    timeout_s: float


class ModelCard(BaseModel):
    """The model and the engine that runs it."""

    name: str
    engine: str
    input: Size
    batch_size: int
    classes: dict[str, str]
    confidence: float
    limits: Limits


class Status(BaseModel):
    """One word."""

    status: str
