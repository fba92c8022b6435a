"""Samples: the packaged pictures, run on an engine to see what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.engines.base import InferenceEngine
from azaion_engine.heads.proof import Proof
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.pictures.prepared import Selection


def run_sample(engine: InferenceEngine) -> dict[str, NDArray[Any]]:
    """Runs the first sample and returns the network's outputs by name, `[1, …]`."""
    answer = engine.run(_input_of(engine, SAMPLES[0])[None])
    return {name: output[:1] for name, output in zip(engine.output_names, answer, strict=True)}


def rows_of_samples(engine: InferenceEngine, confidence: float) -> list[NDArray[np.float32]]:
    """Runs the samples one by one and returns the rows of each, at or above a confidence where the head selects."""
    wanted = [Selection(confidence)]
    return [engine.run_arrays(_input_of(engine, name)[None], wanted)[0] for name in SAMPLES]


def check_on_sample(engine: InferenceEngine, confidence: float) -> None:
    """Answers the first sample as a user's picture would be: metadata may promise what the network does not give.

    Raises:
        AzaionError: The runtime failed, or the answer is no list of boxes.
    """
    rows = engine.run_arrays(_input_of(engine, SAMPLES[0])[None], [Selection(confidence)])
    Proof().check(rows, engine.choice.head.oriented)


def _input_of(engine: InferenceEngine, name: str) -> NDArray[Any]:
    from azaion_engine.pictures.codec import decode
    from azaion_engine.pictures.letterbox import Letterbox

    pixels, form = decode(sample_picture(name)), engine.choice.form
    letterbox = Letterbox.fit(pixels.shape[1], pixels.shape[0], *engine.get_input_shape(), form.fit)
    return letterbox.to_input(pixels, form=form)
