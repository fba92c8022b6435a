"""ModelFile: an ONNX file by path, or the demo model that ships with the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from azaion_engine.errors import ConfigurationError, reason
from azaion_engine.heads.recognition.evidence import EXPORT_ADVICE

if TYPE_CHECKING:
    from azaion_engine.model.info import ModelInfo

DEMO = "demo"
SAMPLES = ("sample_1.jpg", "sample_2.jpg")


@dataclass(frozen=True)
class ModelFile:
    """A model's ONNX bytes and its short name.

    Attributes:
        name: File name without suffix, or `demo`.
        data: Content of the ONNX file.
    """

    name: str
    data: bytes

    @classmethod
    def read(cls, model: str) -> ModelFile:
        """Reads the model.

        Args:
            model: Path of an ONNX file (`~` is expanded), or `demo`.

        Raises:
            ConfigurationError: The file cannot be read, or its suffix is not `.onnx`.
        """
        if model == DEMO:
            return cls(DEMO, resources.files("azaion_engine").joinpath("data/demo.onnx").read_bytes())
        path = Path(model)
        if path.suffix.lower() != ".onnx":
            raise ConfigurationError(
                f"model: expected the path of an .onnx file or 'demo', given {model!r}; {EXPORT_ADVICE}"
            )
        try:
            return cls(path.stem, path.expanduser().read_bytes())
        except (OSError, ValueError, RuntimeError) as error:  # NUL in the path; `~` of an unknown user
            raise ConfigurationError(f"model: cannot read {model!r}: {reason(error)}") from error

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, hex."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def info(self) -> ModelInfo:
        """Tensors, metadata and class names; read at the first access, which is slow, and then pickled too.

        Raises:
            ModelError: The file is no detector.
        """
        from azaion_engine.model.info import ModelInfo

        return ModelInfo.from_onnx(self.data)


def sample_picture(name: str = SAMPLES[0]) -> bytes:
    """Returns the JPEG bytes of a sample picture that ships with the package."""
    return resources.files("azaion_engine").joinpath(f"data/{name}").read_bytes()
