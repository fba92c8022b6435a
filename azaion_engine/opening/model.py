"""Opening a model: its file, its class names, and its engine, here or in a host process."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import NamedTuple

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.engines.shared import wire
from azaion_engine.engines.shared.client import SharedEngine
from azaion_engine.engines.tensorrt.build.progress import BuildProgress
from azaion_engine.errors import ModelError
from azaion_engine.model.file import ModelFile
from azaion_engine.model.info import ModelInfo
from azaion_engine.model.labels import read_labels
from azaion_engine.opening.engine import open_engine
from azaion_engine.settings import DetectorSettings
from azaion_engine.version import __version__

_DECIDE = {
    *("engine", "batch_size", "height", "width", "precision", "optimization_level", "cache_dir", "threads"),
    *("head", "input", "task", "background", "class_offset"),
}
"""The settings that an engine depends on; the others may differ between clients of a shared engine."""


class OpenModel(NamedTuple):
    """A model whose engine is open.

    Attributes:
        name: Short name, for display.
        engine: Runs the model; the caller closes it.
        names: Class names by id.
        info: Properties of the model file.
    """

    name: str
    engine: InferenceEngine
    names: dict[int, str]
    info: ModelInfo


def open_model(
    settings: DetectorSettings, *, shared: bool = False, progress: BuildProgress | None = None, cpu_lanes: int = 1
) -> OpenModel:
    """Reads a model and its class names, and opens its engine.

    Args:
        settings: The configuration.
        shared: As in `Detector.open`.
        progress: Reports a build; ignored if the engine is shared, like `cpu_lanes`.
        cpu_lanes: As in `Detector.open`.

    Raises:
        ConfigurationError: The settings need something that this machine does not have.
        ModelError: The model is not a detector, or not the one of `model_sha256`.
        EngineBuildError: TensorRT refused the model.
    """
    names = read_labels(settings.labels) if settings.labels else None  # fail before a build that may take minutes
    model = _read_model(settings)
    engine = open_shared_engine(model, settings) if shared else open_engine(model, settings, progress, cpu_lanes)
    try:
        return OpenModel(model.name, engine, model.info.names if names is None else names, model.info)
    except BaseException:
        engine.close()
        raise


def _read_model(settings: DetectorSettings) -> ModelFile:
    model = ModelFile.read(settings.model)
    if settings.model_sha256 not in (None, model.sha256):
        raise ModelError(
            f"{settings.model} is not the model that was deployed: its SHA-256 is {model.sha256}, expected "
            f"{settings.model_sha256}; put that file back, or deploy again to serve the new one"
        )
    return model


def open_shared_engine(model: ModelFile, settings: DetectorSettings) -> SharedEngine:
    """Opens the engine in a host process, or connects to the host that runs it for other processes of this machine.

    Raises:
        AzaionError: As `open_engine`.
    """
    wanted = {
        "version": __version__,
        "wire": wire.VERSION,
        "model": model.sha256,
        "settings": settings.model_dump(mode="json", include=_DECIDE),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }

    def make_opener() -> partial[InferenceEngine]:
        _ = model.info  # read here while the host starts, and sent with the model
        return partial(open_engine, model, settings)

    # Kept for a host that is lost later: holds the model's hash, not the model.
    again = partial(_opener_of_file, settings.model_copy(update={"model_sha256": model.sha256}))
    return SharedEngine.open(make_opener, json.dumps(wanted), settings.engine != "onnx", again)


def _opener_of_file(settings: DetectorSettings) -> partial[InferenceEngine]:
    """Reads the model again; raises ModelError if the file is another one by now."""
    return partial(open_engine, _read_model(settings), settings)
