"""azaion_engine: builds the TensorRT plan of an ONNX detector for the local GPU and finds objects with it.

Names are imported on first use, so that importing the package is cheap and needs neither CUDA nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from azaion_engine.version import __version__

_HOMES = {
    "InferenceEngine": "engines.base",
    "OnnxEngine": "engines.onnx_engine",
    "TensorRTEngine": "engines.tensorrt.engine",
    "Detector": "detector",
    "DetectorSettings": "settings",
    "Detections": "results.detections",
    "AzaionError": "errors",
}

__all__ = [
    "AzaionError",
    "Detections",
    "Detector",
    "DetectorSettings",
    "InferenceEngine",
    "OnnxEngine",
    "TensorRTEngine",
    "__version__",
]

if TYPE_CHECKING:
    from azaion_engine.detector import Detector
    from azaion_engine.engines.base import InferenceEngine
    from azaion_engine.engines.onnx_engine import OnnxEngine
    from azaion_engine.engines.tensorrt.engine import TensorRTEngine
    from azaion_engine.errors import AzaionError
    from azaion_engine.results.detections import Detections
    from azaion_engine.settings import DetectorSettings


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
