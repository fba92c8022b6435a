"""Kept: copies of model files in the cache, so that a version can be opened again when its file was overwritten."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from azaion_engine.errors import AzaionError, ModelError
from azaion_engine.model.file import DEMO, ModelFile
from azaion_engine.plans.store import PlanStore
from deployments.versions.version import Version

logger = logging.getLogger("ray.serve")

_FOLDER = "models"


def read_version(model: str, cache_dir: Path | None, sha256: str | None = None) -> Version:
    """Returns the version that a model file is now, of which a copy is kept.

    Args:
        model: Path of an ONNX file, or `demo`.
        cache_dir: Folder of the cache; None: the user's.
        sha256: What the file must have; None: any.

    Raises:
        ConfigurationError: It cannot be read.
        ModelError: It is no ONNX file, or another one.
    """
    file = ModelFile.read(model)
    if sha256 not in (None, file.sha256):
        raise ModelError(f"{model} is another model: its SHA-256 is {file.sha256}, expected {sha256}")
    version = Version(model=model, sha256=file.sha256)
    return version if model == DEMO else version.model_copy(update={"kept": _keep(file, version, cache_dir)})


def keep(version: Version, cache_dir: Path | None) -> Version:
    """Returns a version with a copy of its file, unless the file cannot be read or is another one by now."""
    if version.kept is not None or version.sha256 is None or version.model == DEMO:
        return version
    try:
        return read_version(version.model, cache_dir, version.sha256)
    except AzaionError:
        return version


def _keep(file: ModelFile, version: Version, cache_dir: Path | None) -> str | None:
    """Writes the copy; its name without folder is the file's own, as the engines' folders are named after it."""
    path = PlanStore(cache_dir).directory / _FOLDER / version.id / f"{file.name}.onnx"
    if path.is_file() and path.stat().st_size == len(file.data):
        return str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            new = Path(folder, path.name)
            new.write_bytes(file.data)
            new.replace(path)
    except OSError as error:
        logger.warning("no copy of %s is kept: %s", version.model, error)
        return None
    return str(path)
