"""CalibrationPictures: network inputs made of the user's pictures, one at a time, as the service makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import PictureError
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.input_form import InputForm
from azaion_engine.pictures.prepared import ArrayPicture, PictureForm
from azaion_engine.pictures.preparing import Preparer


class CalibrationPictures:
    """Reads pictures for ModelOpt, which takes any object with the methods of ONNX Runtime's `CalibrationDataReader`.

    One picture is in memory at a time.

    Attributes:
        skipped: Error of each picture that could not be read, by its path.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        input_name: str,
        size: tuple[int, int],
        form: InputForm,
        *,
        batch: int | None = 1,
        limits: PictureLimits | None = None,
        told: Callable[[Path, PictureError], None] | None = None,
    ) -> None:
        """Opens the first picture that can be read.

        Args:
            paths: Picture files.
            input_name: Name of the network's picture input.
            size: (height, width) of the network input, in pixels.
            form: What the network takes.
            batch: Batch that the model fixes, filled with one picture; 1 where it is dynamic; None for a model whose
                input has no batch dimension.
            limits: Largest accepted pictures.
            told: Called once for each picture that is skipped.

        Raises:
            PictureError: None of the pictures can be read.
        """
        self.skipped: dict[Path, PictureError] = {}
        self._paths, self._name, self._batch = list(paths), input_name, batch
        self._dtype = np.dtype(form.dtype)
        self._preparer = Preparer(size, PictureForm.ARRAY, limits or PictureLimits(), form)
        self._told = told
        self._position = 0
        first = self.get_next()
        if first is None:
            why = f", the last one: {list(self.skipped.values())[-1]}" if self.skipped else ""
            raise PictureError(f"none of the {len(self._paths)} pictures for calibration can be read{why}")
        self._first = first
        self.rewind()

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Returns the next picture as `{input name: array}`, an array as the model takes it; None at the end."""
        while self._position < len(self._paths):
            path = self._paths[self._position]
            self._position += 1
            if path in self.skipped:
                continue
            try:
                return {self._name: self._input_of(path)}
            except PictureError as error:
                self.skipped[path] = error
                if self._told is not None:
                    self._told(path, error)
        return None

    def get_first(self) -> dict[str, NDArray[Any]]:
        """Returns the first picture; ModelOpt runs the model on it to learn shapes."""
        return self._first

    def rewind(self) -> None:
        """Goes back to the first picture: ModelOpt reads all of them more than once."""
        self._position = 0

    def __iter__(self) -> CalibrationPictures:
        return self

    def __next__(self) -> dict[str, NDArray[Any]]:
        given = self.get_next()
        if given is None:
            raise StopIteration
        return given

    def __len__(self) -> int:
        return len(self._paths) - len(self.skipped)

    def _input_of(self, path: Path) -> NDArray[Any]:
        if not path.is_file():  # a pipe or a device would never end
            raise PictureError(f"no such file: {str(path)!r}")
        prepared = self._preparer.prepare(path)
        assert isinstance(prepared, ArrayPicture)
        row = np.ascontiguousarray(prepared.array, self._dtype)
        return row if self._batch is None else np.repeat(row[None], self._batch, axis=0)


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """Returns at most `most` of the paths, evenly spread: neighbouring pictures of a flight look alike."""
    if len(paths) <= most:
        return list(paths)
    return [paths[index * len(paths) // most] for index in range(most)]
