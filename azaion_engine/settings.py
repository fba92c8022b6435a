"""DetectorSettings: the typed configuration of a detector, the same for YAML, command line and code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from azaion_engine.errors import ConfigurationError

EngineChoice = Literal["auto", "tensorrt", "onnx"]
Precision = Literal["fp16", "fp32"]
HeadName = Literal[
    "end_to_end",
    "yolo",
    "yolov5",
    "yolox",
    "yolox_raw",
    "rtdetr",
    "detr",
    "named_outputs",
    "scored_boxes",
    "oriented",
    "oriented_rows",
]
Background = Literal["none", "first", "last"]

DYNAMIC_SIZE = 1280
"""Height and width, in pixels, used where the model leaves them dynamic (-1)."""

DEFAULT_BATCH_SIZE = 16
"""Pictures per execution on a GPU: larger batches do not raise the throughput."""


class InputSettings(BaseModel):
    """How the network wants its pictures, where the model file does not say; a key left out is as its family's.

    A value v of 0…255 becomes `(v * scale - mean) / std`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    colour: Literal["rgb", "bgr"] | None = Field(default=None, description="Order of the channels.")
    scale: float | None = Field(default=None, gt=0, description="`1/255` for values 0..1, 1 for 0..255.")
    mean: tuple[float, float, float] | None = Field(
        default=None, description="Of the scaled channels, e.g. ImageNet's."
    )
    std: tuple[float, float, float] | None = Field(default=None, description="Of the scaled channels, likewise.")
    fit: Literal["letterbox", "top_left", "stretch"] | None = Field(
        default=None,
        description="`letterbox`: centred on grey; `top_left`: at the upper left; `stretch`: aspect ignored.",
    )
    layout: Literal["nchw", "nhwc"] | None = Field(default=None, description="Order of the dimensions.")
    resampling: Literal["linear", "antialiased"] | None = Field(
        default=None,
        description="`linear`: OpenCV's; `antialiased`: averages where it shrinks, as Pillow and torchvision do.",
    )

    @field_validator("scale", mode="before")
    @classmethod
    def _fraction(cls, scale: Any) -> Any:
        return 1 / 255 if scale == "1/255" else scale

    @field_validator("scale")
    @classmethod
    def _exact(cls, scale: float | None) -> float | None:
        """Takes 0.00392 for 1/255."""
        return 1 / 255 if scale is not None and abs(scale * 255 - 1) < 1e-3 else scale

    @field_validator("std")
    @classmethod
    def _positive(cls, std: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if std is not None and min(std) <= 0:
            raise ValueError("must be above 0")
        return std


class Tiles(BaseModel):
    """How a large picture is cut into tiles, and how the boxes of its tiles are merged.

    The words and the defaults of overlap, match and threshold are SAHI's (github.com/obss/sahi,
    `get_sliced_prediction`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Literal["auto", "off"] | Annotated[int, Field(ge=32, le=32768)] = Field(
        default="auto",
        description="Side of a tile in pixels of the picture; `auto`: the network's size, for pictures more than 1.5 "
        "times as long; `off`: pictures are shrunk to the network's size as a whole.",
    )
    overlap: float = Field(default=0.2, ge=0, le=0.75, description="Share of a tile that the next one covers too.")
    full_picture: bool = Field(
        default=True, description="The whole picture is looked at too, for objects larger than a tile."
    )
    merge: Literal["greedy", "suppress"] = Field(
        default="greedy",
        description="Of boxes that match, `suppress` keeps one; `greedy` also unites parts of an object that no tile "
        "shows whole.",
    )
    match: Literal["ios", "iou"] = Field(
        default="ios",
        description="Boxes of two tiles match by their intersection over the smaller one, or over their union.",
    )
    threshold: float = Field(default=0.5, ge=0, le=1, description="Boxes match above it.")
    max_tiles: int = Field(default=1024, ge=1, description="Tiles of one picture; a picture with more is refused.")

    @property
    def enabled(self) -> bool:
        """Whether pictures are cut at all."""
        return self.size != "off"

    @field_validator("size", mode="before")
    @classmethod
    def _written(cls, size: Any) -> Any:
        """Takes YAML's booleans for `off` and `on`, and numbers that came as text."""
        if isinstance(size, bool):
            return "auto" if size else "off"
        return int(size) if isinstance(size, str) and size.isdecimal() and len(size) < 9 else size


class DetectorSettings(BaseModel):
    """Settings of a detector: model, engine, sizes, confidence and limits.

    An unknown key or a value out of range is an error that names the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field(
        default="demo", min_length=1, description="Path of an ONNX file, or `demo` for the built-in model."
    )
    model_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 that the model must have; default: any; a service keeps that of its deployment.",
    )
    labels: Path | None = Field(
        default=None, description="Class names (.txt: one a line, .yaml or .json); default: the model's own metadata."
    )
    engine: EngineChoice = Field(
        default="auto", description="`auto`: TensorRT where there is a GPU and TensorRT, else ONNX Runtime on the CPU."
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=1024, description="Pictures per engine execution; default 16 on a GPU, 1 on a CPU."
    )
    height: int | None = Field(
        default=None,
        ge=32,
        le=8192,
        description="Network input height where the model leaves it dynamic; default 1280.",
    )
    width: int | None = Field(default=None, ge=32, le=8192, description="Network input width, likewise.")
    precision: Precision = Field(default="fp16", description="TensorRT precision; the box head stays FP32.")
    build_tolerance_px: float = Field(
        default=4.0,
        gt=0,
        description="Corners of a new engine's boxes may differ by this from ONNX Runtime's, else FP32.",
    )
    optimization_level: int | None = Field(
        default=None,
        ge=0,
        le=5,
        description="TensorRT builder optimisation level: lower builds faster, higher may run faster.",
    )
    cache_dir: Path | None = Field(default=None, description="Where built engines are kept; default: the user's cache.")
    threads: int | None = Field(
        default=None, ge=1, description="CPU threads of ONNX Runtime; default: every core, shared."
    )
    confidence: float = Field(default=0.25, ge=0, le=1, description="Boxes below this confidence are left out.")
    head: HeadName | None = Field(
        default=None, description="What the outputs mean; default: recognised from the model file."
    )
    input: InputSettings | None = Field(
        default=None, description="How the network wants its pictures; default: likewise."
    )
    task: Literal["detect", "obb"] | None = Field(
        default=None,
        description="`detect` takes the boxes alone of a model for segmentation or poses; `obb`: the boxes are "
        "oriented, where the file does not say so.",
    )
    background: Background | None = Field(
        default=None, description="Which class is the background; with one, `logits` of a DETR are a softmax."
    )
    class_offset: int = Field(
        default=0, ge=-1000, le=1000, description="Added to the class ids that the network gives."
    )
    nms_iou: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Overlap above which the less confident box is dropped; default: the family's.",
    )
    max_detections: int = Field(default=300, ge=1, le=30000, description="Largest number of boxes of a picture.")
    max_picture_bytes: int = Field(default=32 * 2**20, ge=1, description="Largest encoded picture, in bytes.")
    max_picture_pixels: int = Field(default=100_000_000, ge=1, description="Largest picture, in pixels.")

    max_decode_bytes: int | None = Field(
        default=None,
        ge=2**24,
        description="Memory of all decodes at once in a process, in bytes: a decode waits for others, and a picture "
        "that needs more alone is refused; default: a quarter of the machine's, 256 MiB to 4 GiB.",
    )

    tiles: Tiles = Field(
        default=Tiles(size="off"),
        description="How large pictures are cut into tiles: `auto`, a size in pixels, `off`, or a mapping with `size`, "
        "`overlap`, `full_picture`, `merge`, `match`, `threshold`, `max_tiles`; default: `off`.",
    )

    @field_validator("tiles", mode="before")
    @classmethod
    def _short_form(cls, tiles: Any) -> Any:
        return tiles if isinstance(tiles, (dict, Tiles)) else {"size": tiles}

    @field_validator("labels", "cache_dir")
    @classmethod
    def _at_home(cls, path: Path | None) -> Path | None:
        try:
            return path.expanduser() if path else None
        except RuntimeError as error:  # `~` of an unknown user
            raise ValueError(f"{error} Given {str(path)!r}.") from error


def check_at_least_one(**options: int | None) -> None:
    """Refuses engine options below 1.

    Args:
        **options: Option values by name; None stands for the default.

    Raises:
        ConfigurationError: Names the first such option and its value.
    """
    for option, value in options.items():
        if value is not None and value < 1:
            raise ConfigurationError(f"{option} must be at least 1, given {value}")
