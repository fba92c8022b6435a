"""azaion_engine: turns an ONNX detector into the TensorRT engine of the GPU at hand and finds objects with it.

Names are resolved on first use, so that importing the package costs nothing and needs neither CUDA nor Ray.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "InferenceEngine": "inference_engine",
    "OnnxEngine": "onnx_engine",
    "TensorRTEngine": "tensorrt_engine",
    "Detector": "detector",
    "DetectorSettings": "settings",
    "Detections": "detections",
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
    from azaion_engine.detections import Detections
    from azaion_engine.detector import Detector
    from azaion_engine.errors import AzaionError
    from azaion_engine.inference_engine import InferenceEngine
    from azaion_engine.onnx_engine import OnnxEngine
    from azaion_engine.settings import DetectorSettings
    from azaion_engine.tensorrt_engine import TensorRTEngine


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
