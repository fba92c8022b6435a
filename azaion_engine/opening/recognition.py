"""Recognition: a model's head and input form, and which settings it cannot follow."""

from __future__ import annotations

import logging

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.heads.choice import Choice, choose
from azaion_engine.model.info import ModelInfo
from azaion_engine.samples import run_sample
from azaion_engine.settings import DetectorSettings

logger = logging.getLogger(__name__)


def recognise(info: ModelInfo, settings: DetectorSettings) -> Choice:
    """Returns a model's head and input form as far as the file and the settings tell.

    Raises:
        ModelError: The model is not a detector, or its head or its input form needs a key of the settings.
    """
    _, height, width = info.resolve(1, settings.height, settings.width)
    return choose(info.signature(height, width), settings).checked()


def settle(engine: InferenceEngine, info: ModelInfo, settings: DetectorSettings) -> None:
    """Runs a sample picture if the file leaves the choice open; before the engine prepares for the head and the form.

    Raises:
        AzaionError: The model is no detector; the engine is closed then.
    """
    if engine.choice.settled:
        return
    try:
        engine.choice = _choice_after_a_run(engine, info, settings)
    except BaseException:
        engine.close()
        raise


def _choice_after_a_run(engine: InferenceEngine, info: ModelInfo, settings: DetectorSettings) -> Choice:
    return choose(info.signature(*engine.get_input_shape()), settings, run_sample(engine)).checked()


def tell(engine: InferenceEngine, info: ModelInfo, settings: DetectorSettings) -> None:
    """Logs what the model was recognised as, and the settings that it cannot follow."""
    choice = engine.choice
    logger.info("the model has %s; its input is %s", choice.family, choice.form.describe())
    for note in choice.notes:
        logger.warning("model: %s", note)
    for text in unfollowed(info, settings, engine):
        logger.warning("%s", text)


def unfollowed(info: ModelInfo, settings: DetectorSettings, engine: InferenceEngine) -> list[str]:
    """Returns, in words, the settings that the model cannot follow."""
    texts = []
    for key, used in zip(("height", "width"), engine.get_input_shape(), strict=True):
        wish = getattr(settings, key)
        if wish is not None and wish != used:
            texts.append(f"{key}: {wish} is not followed, the model's input is fixed to {used}")
    batch = engine.get_batch_size()
    if settings.batch_size is not None and settings.batch_size != batch:
        why = "is fixed to" if info.input.shape[0] > 0 else "was exported for"
        texts.append(f"batch_size: {settings.batch_size} is not followed, the model {why} {batch}")
    if not engine.choice.head.selective and settings.nms_iou is not None:
        texts.append("nms_iou is not followed: this model's head needs no suppression, or has done it")
    return texts
