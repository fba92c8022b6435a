"""Answers: what a service returns for one picture, or for one row of the network's input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from azaion_engine.results.detections import Detections
from deployments.watching.stage_times import StageTimes


class Answer(NamedTuple):
    """Result for one picture.

    Attributes:
        detections: The boxes, in pixels of the picture.
        times: How long each stage took.
    """

    detections: Detections
    times: StageTimes


class RowAnswer(NamedTuple):
    """The network's result for one row of its input.

    Attributes:
        rows: float32 `[k, columns]` in pixels of the network input, as `Head.rows` describes them.
        times: How long each stage took.
    """

    rows: NDArray[np.float32]
    times: StageTimes
