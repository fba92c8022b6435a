"""Kept: copies of model files in the cache, so that a version can be opened again when its file was overwritten."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from azaion_engine.errors import AzaionError
from azaion_engine.model.file import DEMO, ModelFile
from azaion_engine.plans.store import PlanStore
from deployments.versions.version import Version

logger = logging.getLogger("ray.serve")

_FOLDER = "models"


def read_version(model: str, cache_dir: Path | None) -> Version:
    """Returns the version that a model file is now, of which a copy is kept.

    Args:
        model: Path of an ONNX file, or `demo`.
        cache_dir: Folder of the cache; None: the user's.

    Raises:
        ConfigurationError: It cannot be read.
        ModelError: It is no ONNX file.
    """
    file = ModelFile.read(model)
    version = Version(model=model, sha256=file.sha256)
    return version if model == DEMO else version.model_copy(update={"kept": _keep(file, version, cache_dir)})


def keep(version: Version, cache_dir: Path | None) -> Version:
    """Returns a version with a copy of its file, unless the file is another one by now."""
    if version.kept is not None or version.model == DEMO:
        return version
    try:
        now = read_version(version.model, cache_dir)
    except AzaionError:
        return version
    return now if now.sha256 == version.sha256 else version


def _keep(file: ModelFile, version: Version, cache_dir: Path | None) -> str | None:
    """Writes the copy; its name without folder is the file's own, as the engines' folders are named after it."""
    path = PlanStore(cache_dir).directory / _FOLDER / version.id / f"{file.name}.onnx"
    if path.is_file() and path.stat().st_size == len(file.data):
        return str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as new:
            new.write(file.data)
        Path(new.name).replace(path)
    except OSError as error:
        logger.warning("no copy of %s is kept: %s", version.model, error)
        return None
    return str(path)
