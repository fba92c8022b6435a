"""DetectorSettings: the typed configuration of a detector, the same for YAML, command line and code."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from azaion_engine.errors import ConfigurationError

EngineChoice = Literal["auto", "tensorrt", "onnx"]
Precision = Literal["fp16", "fp32"]

DYNAMIC_SIZE = 1280
"""Height and width, in pixels, used where the model leaves them dynamic (-1)."""

DEFAULT_BATCH_SIZE = 16
"""Pictures per execution on a GPU: larger batches do not raise the throughput."""


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
