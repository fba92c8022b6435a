"""Schema of the HTTP answers, for the OpenAPI document; the routes return plain dictionaries of these shapes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from deployments.frontends.detect.error_schema import NOT_A_PICTURE, ErrorBody

TAGS = [
    {"name": "detection", "description": "Pictures in, boxes out."},
    {"name": "service", "description": "What is served, and whether it would answer."},
    {"name": "Open Inference Protocol", "description": "KServe v2, as Triton speaks it; gRPC has a port of its own."},
]

ANY_PICTURE = "application/octet-stream"
"""Any format: it is read from the body's first bytes, so any other Content-Type is accepted too."""

DETECT_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The boxes, or with `format=image` the picture with the boxes drawn.",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
    }
}

_PICTURES = (
    *("image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"),
    *("image/avif", "image/heic", "image/jxl"),
)
DETECT_BODY: dict[str, Any] = {
    "requestBody": {
        "description": "One picture as the body, whatever its Content-Type says, or one or more files as multipart, "
        "whose other fields are parameters of the query's names.",
        "required": True,
        "content": {
            **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in (*_PICTURES, ANY_PICTURE)},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "picture": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                            "description": "At most `max_pictures` of the model's card. Any field name will do.",
                        }
                    },
                    "required": ["picture"],
                }
            },
        },
    }
}


_MODEL = {"name": "demo", "version": "0a2c707301a6", "engine": "onnxruntime-cpu"}
_FOUND = {
    "picture": {"width": 1600, "height": 1216},
    "boxes": [
        {
            "x1": 1171.83,
            "y1": 272.76,
            "x2": 1250.66,
            "y2": 329.95,
            "confidence": 0.9414,
            "class_id": 0,
            "class_name": "car",
        }
    ],
    "timing_ms": {"decode": 33.7, "queue": 1.2, "engine": 190.6, "total": 225.6},
}


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Size(BaseModel):
    """Pixels, across and down."""

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
    angle: float | None = Field(
        None,
        description="Of an oriented box, radians from -pi/4 to 3pi/4, clockwise as one sees it, of its width against "
        "the x axis. Models for upright boxes leave it and `corners` out.",
    )
    corners: list[tuple[float, float]] | None = Field(
        None,
        min_length=4,
        max_length=4,
        description="Its corners x, y, clockwise, the first two along its width; they may lie outside the picture. "
        "x1, y1, x2, y2 are then the upright box around it, clipped to the picture.",
    )
    keypoints: list[tuple[float, float, float]] | None = Field(
        None,
        description="Of a pose model: x, y in pixels, inside the picture, and visibility 0 to 1 (1 where the model "
        "does not tell it) of each keypoint, in the model's order. Other models leave it out.",
    )
    geometry: dict[str, Any] | None = Field(
        None,
        description="Of a GeoTIFF, where the service has the extra `geo`: the box as a GeoJSON polygon in WGS84, "
        "longitude first (RFC 7946), cut at the antimeridian into a multipolygon; null for a box without a place. "
        "Other pictures' boxes leave it out.",
    )


class Timing(BaseModel):
    """Milliseconds of each stage."""

    decode: float
    queue: float = Field(description="Waiting for the engine.")
    engine: float = Field(description="The whole batch that the picture was in.")
    total: float


class ModelName(BaseModel):
    """Which model answered, and on what."""

    name: str
    version: str | None = Field(None, description="First 12 digits of the SHA-256 of the model's file.")
    engine: str


class DetectAnswer(BaseModel):
    """What was found in the picture."""

    model_config = _example({**_FOUND, "model": _MODEL})

    picture: Size = Field(description="Of the picture that the boxes are in: after it was turned upright.")
    boxes: list[Box] = Field(description="Most confident first.")
    timing_ms: Timing
    model: ModelName


class OnePicture(BaseModel):
    """One picture of several: its boxes, or its own error."""

    name: str | None = Field(description="The part's file name.")
    picture: Size | None = None
    boxes: list[Box] | None = None
    timing_ms: Timing | None = None
    error: ErrorBody | None = None


class DetectManyAnswer(BaseModel):
    """Each picture with its boxes or its own error."""

    model_config = _example(
        {"pictures": [{"name": "a.jpg", **_FOUND}, {"name": "b.gif", "error": NOT_A_PICTURE}], "model": _MODEL}
    )

    pictures: list[OnePicture] = Field(description="One entry a picture, in the order sent.")
    model: ModelName


class Limits(BaseModel):
    """What is accepted."""

    max_picture_bytes: int = Field(description="Encoded bytes of one picture.")
    max_picture_pixels: int = Field(description="Width times height of one picture.")
    max_pictures: int = Field(description="Pictures of one multipart request.")
    timeout_s: float = Field(description="Seconds for a body to arrive, and again for its answer; later is a 504.")


class Head(BaseModel):
    """What the model's outputs were recognised as, and how it wants its pictures."""

    name: str = Field(description="As the setting `head` has it.")
    recognised_as: str
    pictures: str
    notes: list[str] = Field(description="What was assumed, and how far a built engine agrees with ONNX Runtime.")


class ModelCard(BaseModel):
    """The model and the engine that runs it."""

    model_config = _example(
        {
            **_MODEL,
            "sha256": "0a2c707301a62f361fc3ee4ddac31fc6359f37250c960c6d3e42b0fee08714b6",
            "head": {
                "name": "end_to_end",
                "recognised_as": "end-to-end rows",
                "pictures": "RGB 0..1, letterbox, NCHW float32",
                "notes": [],
            },
            "input": {"width": 1280, "height": 1280},
            "batch_size": 1,
            "classes": {"0": "car", "1": "truck", "2": "building", "3": "person"},
            "confidence": 0.25,
            "limits": {
                "max_picture_bytes": 33554432,
                "max_picture_pixels": 100000000,
                "max_pictures": 32,
                "timeout_s": 30.0,
            },
        }
    )

    name: str
    version: str | None = Field(None, description="First 12 digits of `sha256`.")
    sha256: str | None = Field(None, description="SHA-256 of the model file, hex; weights in files beside it included.")
    engine: str
    head: Head
    input: Size = Field(description="Of the network's input.")
    batch_size: int = Field(description="Most pictures of one execution.")
    classes: dict[str, str] = Field(description="Class id to name.")
    confidence: float = Field(description="Threshold where a request names none, 0 to 1.")
    limits: Limits


class Status(BaseModel):
    """One word."""

    status: str
