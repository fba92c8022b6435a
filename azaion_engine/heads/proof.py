"""Proof: what a network answers is checked until it has shown boxes: a misread head must never be answered as boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import ModelError
from azaion_engine.heads.end_to_end import contradiction_of
from azaion_engine.heads.oriented import contradiction_of_oriented

_CONFIDENT = 0.1
"""Confidence of a box that proves that the network's answers are boxes."""


class Proof:
    """Checks the first answers of a model that have boxes.

    Attributes:
        given: Whether there was a confident box; no answer need be checked any more.
    """

    def __init__(self) -> None:
        self.given = False

    def check(self, found: Sequence[NDArray[np.float32] | Exception], oriented: bool) -> None:
        """Checks the rows of a batch.

        Args:
            found: Rows or error of each picture.
            oriented: Whether the head is one of oriented boxes.

        Raises:
            ModelError: The rows contradict what the head promises.
        """
        contradiction = contradiction_of_oriented if oriented else contradiction_of
        for rows in found:
            if isinstance(rows, Exception) or not len(rows):
                continue
            if fault := contradiction(rows):
                raise ModelError(f"the network's answer is no list of boxes: {fault}; set the key `head`")
            self.given = self.given or bool((rows[:, 4] >= _CONFIDENT).any())
