"""ModelFile: an ONNX file by path, or the demo model that ships with the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from azaion_engine.errors import ConfigurationError, ModelError, reason
from azaion_engine.model.external_weights import with_external_weights
from azaion_engine.model.file_kind import kind_of

if TYPE_CHECKING:
    from azaion_engine.model.info import ModelInfo

DEMO = "demo"
SAMPLES = ("sample_1.jpg", "sample_2.jpg")


@dataclass(frozen=True)
class ModelFile:
    """A model's ONNX bytes and its short name.

    Attributes:
        name: File name without suffix, or `demo`.
        data: Content of the ONNX file, with the weights in it that were in files beside it.
        weight_files: Those files, relative to the model's folder; empty for most models.
    """

    name: str
    data: bytes
    weight_files: tuple[str, ...] = ()

    @classmethod
    def read(cls, model: str) -> ModelFile:
        """Reads the model, after a look at what the file is; what is no ONNX file is not read whole.

        Args:
            model: Path of an ONNX file (`~` is expanded), or `demo`.

        Raises:
            ConfigurationError: There is nothing at that path, or it cannot be read.
            ModelError: It is something else or damaged, which the message names, or has more than 2 GiB, or its
                weights beside it cannot be used.
        """
        if model == DEMO:
            return cls(DEMO, resources.files("azaion_engine").joinpath("data/demo.onnx").read_bytes())
        try:
            path = Path(model).expanduser()
            kind = kind_of(path)
            if kind.group != "onnx":
                raise ModelError(kind.refusal(path))
            data = path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:  # NUL in the path; `~` of an unknown user
            raise ConfigurationError(f"model: cannot read {model!r}: {reason(error)}") from error
        return cls(path.stem, *with_external_weights(data, path))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `data`, hex.

        That is the SHA-256 of the file, or, with weights in files beside it, of the one file that
        `onnx.save(onnx.load(path), ...)` makes of them all: other weights are another model.
        """
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
