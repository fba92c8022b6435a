"""BatchSettings: what a job detects with, and the key under which its results are kept."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from azaion_engine.model.file import DEMO, ModelFile
from azaion_engine.model.labels import read_labels
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.scenes.files import SceneWishes
from azaion_engine.settings import DetectorSettings

_NOT_IN_KEY = {
    *("model", "model_sha256", "labels", "batch_size", "cache_dir", "threads"),
    *("optimization_level", "max_decode_bytes"),
}
"""Settings that change no box, or that the key holds otherwise: the model by its SHA-256, labels by their names."""


@dataclass(frozen=True)
class BatchSettings:
    """Settings of a job.

    Attributes:
        detector: The detector's.
        model_sha256: SHA-256 of the model, hex.
        classes: Ids or names of the classes that are kept; None: all.
        every: Every n-th frame of a video is a picture.
        scenes: Wishes for TIFFs that are read in windows.
    """

    detector: DetectorSettings
    model_sha256: str
    classes: tuple[str, ...] | None = None
    every: int = 1
    scenes: SceneWishes = SceneWishes()  # noqa: RUF009 (frozen)

    @classmethod
    def of(cls, detector: DetectorSettings, **others: Any) -> BatchSettings:
        """Reads the model's hash, which the workers then insist on, and makes paths absolute.

        Args:
            detector: The detector's settings.
            **others: Attributes by name.

        Raises:
            ConfigurationError: The model cannot be read.
            ModelError: It is no ONNX file, or not that of `detector.model_sha256`.
        """
        sha256 = ModelFile.read(detector.model).sha256
        paths: dict[str, Any] = {  # workers may run in another folder
            name: Path(os.path.expanduser(path)).absolute()
            for name in ("model", "labels", "cache_dir")
            if (path := getattr(detector, name)) is not None and (name, path) != ("model", DEMO)
        }
        if "model" in paths:
            paths["model"] = str(paths["model"])
        paths["model_sha256"] = detector.model_sha256 or sha256
        return cls(detector.model_copy(update=paths), sha256, **others)

    def described(self) -> dict[str, Any]:
        """Returns all that decides the boxes of a picture, JSON-ready."""
        labels = self.detector.labels
        return {
            "model_sha256": self.model_sha256,
            "labels": None if labels is None else {str(key): name for key, name in read_labels(labels).items()},
            "detector": self.detector.model_dump(mode="json", exclude=_NOT_IN_KEY),
            "classes": None if self.classes is None else sorted(self.classes),
            "every": self.every,
            "scenes": asdict(self.scenes),
        }

    @property
    def limits(self) -> PictureLimits:
        """Largest accepted pictures."""
        return PictureLimits(self.detector.max_picture_bytes, self.detector.max_picture_pixels)

    def key(self) -> str:
        """Returns the hash of `described`, 32 hex digits: results under one key are of one kind."""
        return key_of(self.described())


@dataclass(frozen=True)
class RunSettings:
    """How a job runs; changes no result.

    Attributes:
        workers: Engines at once, each with a GPU of its own where there are GPUs; None: as many as there are GPUs,
            or one a machine.
        part_pictures: Maximum pictures of a part, the unit of resuming.
        part_bytes: Maximum encoded bytes of a part that has more than one picture.
        address: Address of a Ray cluster; None: RAY_ADDRESS, else a Ray of this job's own.
        retry_failed: Whether parts with failures are done again.
    """

    workers: int | None = None
    part_pictures: int = 256
    part_bytes: int = 64 << 20
    address: str | None = None
    retry_failed: bool = False


def key_of(value: Any) -> str:
    """Returns a hash of a JSON-ready value, 32 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
