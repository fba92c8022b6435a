"""Model card: what a service tells of its model, its engine and its limits."""

from __future__ import annotations

from typing import Any

from azaion_engine.detector import Detector
from deployments.settings import ServiceSettings


def model_card(detector: Detector, settings: ServiceSettings, version: str | None) -> dict[str, Any]:
    """Returns name, engine, head, input size, batch, classes and limits, JSON-ready.

    Args:
        detector: Runs the model.
        settings: Limits of the service.
        version: As `DetectorService.version`.
    """
    engine = detector.engine
    choice = engine.choice
    notes = list(choice.notes)
    if engine.origin and engine.origin.agreement:
        notes.append(f"the engine in {engine.origin.agreement.precision}: {engine.origin.agreement}")
    height, width = engine.get_input_shape()
    return {
        "name": detector.model_name,
        "version": version,
        "sha256": detector.info.sha256 if detector.info else None,
        "engine": engine.name,
        "head": {
            "name": choice.head.name,
            "recognised_as": choice.family,
            "pictures": choice.form.describe(),
            "notes": notes,
        },
        "input": {"height": height, "width": width},
        "batch_size": engine.get_batch_size(),
        "classes": {str(class_id): name for class_id, name in sorted(detector.names.items())},
        "confidence": detector.confidence,
        "limits": {
            "max_picture_bytes": settings.max_picture_bytes,
            "max_picture_pixels": settings.max_picture_pixels,
            "max_pictures": settings.pictures_at_once,
            "timeout_s": settings.timeout_s,
        },
    }
