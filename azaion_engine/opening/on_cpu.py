"""Opening on the CPU: ONNX Runtime, where there is no GPU, and as the reference for a new plan."""

from __future__ import annotations

from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.heads.choice import Choice
from azaion_engine.model.file import ModelFile
from azaion_engine.opening.recognition import settle
from azaion_engine.settings import DetectorSettings


def open_on_cpu(model: ModelFile, settings: DetectorSettings, choice: Choice, lanes: int = 1) -> OnnxEngine:
    """Opens ONNX Runtime with so many lanes; a sample picture settles what the file leaves open of the head.

    Raises:
        AzaionError: The model is no detector, or ONNX Runtime refuses it.
    """
    engine = OnnxEngine(
        model.data,
        batch_size=settings.batch_size,
        height=settings.height,
        width=settings.width,
        threads=settings.threads,
        lanes=lanes,
        choice=choice,
    )
    settle(engine, model.info, settings)
    return engine
