"""Results: the service's answers as frozen dataclasses, with the field names of its JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# No `from __future__ import annotations` here: older pydantic 2 resolves such names in the wrong module.


@dataclass(frozen=True)
class Size:
    """Pixels, across and down.

    Attributes:
        width: Pixels across.
        height: Pixels down.
    """

    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """One object.

    Attributes:
        x1: Left edge, in pixels of the upright picture, origin at its top left.
        y1: Upper edge.
        x2: Right edge, greater than x1.
        y2: Lower edge, greater than y1.
        confidence: 0…1.
        class_id: 0 or greater.
        class_name: The class's name; `class_{id}` if the model has none.
        angle: Of an oriented box, radians from -π/4 to 3π/4, clockwise as one sees it, of its width against the x axis;
            x1, y1, x2, y2 are then the upright box around it, clipped to the picture. None for upright boxes.
        corners: Its corners x, y in pixels, clockwise, the first two along its width; they may lie outside the picture.
            None for upright boxes.
        keypoints: Of a pose model: x, y in pixels, inside the picture, and visibility 0…1 of each; else None.
        geometry: Of a GeoTIFF, the box as a GeoJSON geometry in WGS84, longitude first; None without a place on the
            map, and where the service does not say it.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    confidence: float
    class_id: int
    class_name: str
    angle: float | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    geometry: Mapping[str, Any] | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None


@dataclass(frozen=True)
class Timing:
    """Milliseconds that the service spent on one picture.

    Attributes:
        decode: From bytes to network input.
        queue: Waiting time for the engine.
        engine: Execution of the whole batch that the picture was in.
        total: From receipt to answer.
    """

    decode: float
    queue: float
    engine: float
    total: float


@dataclass(frozen=True)
class ModelName:
    """Which model answered.

    Attributes:
        name: Short name of the model.
        engine: Engine that ran it, e.g. `onnxruntime-cpu`.
        version: First digits of the SHA-256 of the model's file; None if the service does not tell.
    """

    name: str
    engine: str
    version: str | None = None


@dataclass(frozen=True)
class Detections:
    """Objects found in one picture; iterating gives its boxes.

    Attributes:
        boxes: Most confident first.
        picture: Size of the upright picture.
        timing_ms: Milliseconds of each stage.
        model: Which model answered.
        request_id: The answer's X-Request-ID, if it has one.
    """

    boxes: tuple[Box, ...]
    picture: Size
    timing_ms: Timing
    model: ModelName
    request_id: str | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Box]:
        return iter(self.boxes)


@dataclass(frozen=True)
class Limits:
    """Limits of the service.

    Attributes:
        max_picture_bytes: Encoded bytes of one picture.
        max_picture_pixels: Width times height of one picture.
        max_pictures: Pictures of one request.
        timeout_s: Seconds after which it answers 504.
    """

    max_picture_bytes: int
    max_picture_pixels: int
    max_pictures: int
    timeout_s: float


@dataclass(frozen=True)
class Head:
    """What a model's outputs were recognised as, and how it wants its pictures.

    Attributes:
        name: As the service's setting `head` has it.
        recognised_as: The family, in words.
        pictures: Colour order, values and fit, in words.
        notes: What was assumed of the model file, and how far a built engine agrees with ONNX Runtime.
    """

    name: str
    recognised_as: str
    pictures: str
    notes: Sequence[str]


@dataclass(frozen=True)
class ModelCard:
    """The model and the engine that runs it.

    Attributes:
        name: Short name of the model.
        engine: Engine that runs it.
        head: What its outputs were recognised as.
        input: Size of the network input.
        batch_size: Maximum batch size.
        classes: Class id → class name.
        confidence: Default confidence threshold, 0…1.
        limits: Limits of the service.
        sha256: SHA-256 of the model file, hex; None if the service does not tell.
        version: Its first digits, as answers have them.
    """

    name: str
    engine: str
    head: Head
    input: Size
    batch_size: int
    classes: Mapping[int, str]
    confidence: float
    limits: Limits
    sha256: str | None = None
    version: str | None = None
