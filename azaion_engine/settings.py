"""DetectorSettings: the typed configuration of a detector, the same for YAML, command line and code."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator

from azaion_engine.errors import ConfigurationError

EngineChoice = Literal["auto", "tensorrt", "onnx"]
Precision = Literal["fp16", "fp32"]
HeadName = Literal["rows", "yolo", "yolov5", "yolox", "yolox_grid"]

DYNAMIC_SIZE = 1280
"""Height and width, in pixels, used where the model leaves them dynamic (-1)."""

DEFAULT_BATCH_SIZE = 16
"""Pictures per execution on a GPU: larger batches do not raise the throughput."""


class InputSettings(BaseModel):
    """How a network wants its pictures, where its file does not say it: see `pictures.input_form.InputForm`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    colour: Literal["rgb", "bgr"] | None = Field(None, description="Order of the channels.")
    scale: float | None = Field(None, gt=0, description="Value of a white pixel: 1 for 0…1, 255 for 0…255.")
    mean: tuple[float, float, float] | None = Field(None, description="Subtracted from each channel, after scaling.")
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(None, description="Divides each channel.")
    fit: Literal["letterbox", "top_left", "stretch"] | None = Field(None, description="How a picture fills the input.")
    layout: Literal["nchw", "nhwc"] | None = Field(None, description="Order of the input's dimensions.")


class DetectorSettings(BaseModel):
    """Settings of a detector: model, engine, sizes, confidence and limits.

    An unknown key or a value out of range is an error that names the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field("demo", min_length=1, description="Path of an ONNX file, or `demo` for the built-in model.")
    labels: Path | None = Field(
        None, description="Class names (.txt: one a line, .yaml or .json); default: the model's own metadata."
    )
    engine: EngineChoice = Field(
        "auto", description="`auto`: TensorRT where there is a GPU and TensorRT, else ONNX Runtime on the CPU."
    )
    batch_size: int | None = Field(
        None, ge=1, le=1024, description="Pictures per engine execution; default 16 on a GPU, 1 on a CPU."
    )
    height: int | None = Field(
        None, ge=32, le=8192, description="Network input height where the model leaves it dynamic; default 1280."
    )
    width: int | None = Field(None, ge=32, le=8192, description="Network input width, likewise.")
    precision: Precision = Field("fp16", description="TensorRT precision; the box head stays FP32.")
    optimization_level: int | None = Field(
        None, ge=0, le=5, description="TensorRT builder optimisation level: lower builds faster, higher may run faster."
    )
    cache_dir: Path | None = Field(None, description="Where built engines are kept; default: the user's cache.")
    threads: int | None = Field(None, ge=1, description="CPU threads of ONNX Runtime; default: every core, shared.")
    head: HeadName | None = Field(None, description="Family of the model's outputs; default: recognised.")
    input: InputSettings | None = Field(None, description="How the model wants its pictures; default: as its family.")
    task: Literal["detect"] | None = Field(None, description="`detect` takes the boxes alone of another task's model.")
    nms_iou: float | None = Field(None, ge=0, le=1, description="IoU above which the better of two boxes stays.")
    max_detections: int = Field(300, ge=1, le=3000, description="Boxes of a picture, where the model leaves it open.")
    confidence: float = Field(0.25, ge=0, le=1, description="Boxes below this confidence are left out.")
    max_picture_bytes: int = Field(32 * 2**20, ge=1, description="Largest encoded picture, in bytes.")
    max_picture_pixels: int = Field(100_000_000, ge=1, description="Largest picture, in pixels.")

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
