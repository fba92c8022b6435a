"""DataSet: labelled pictures in memory, whatever the format of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import PictureError

Format = Literal["YOLO", "COCO"]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labelled boxes of one picture.

    Attributes:
        boxes: float64 `[n, 4]` of x1, y1, x2, y2: pixels of the upright picture, or shares of its sides if
            `are_shares`; each has an area.
        class_ids: int64 `[n]`, ids of the data set's classes, 0 or greater.
        crowd: bool `[n]`, whether a box stands for a group of objects: finding it is neither right nor wrong
            (`iscrowd` of COCO).
        are_shares: Whether `boxes` are shares of the picture's sides, 0…1.
        size: (width, height) in pixels of the picture that was labelled; None if the labels do not say.
    """

    boxes: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    are_shares: bool = False
    size: tuple[int, int] | None = None

    @classmethod
    def none(cls) -> Labels:
        """Returns the labels of a picture without objects."""
        return cls(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, np.bool_))

    def in_pixels(self, width: int, height: int) -> NDArray[np.float64]:
        """Returns the boxes in pixels of the upright picture, float64 `[n, 4]` of x1, y1, x2, y2.

        Args:
            width: Of the upright picture, in pixels.
            height: Likewise.

        Raises:
            PictureError: The labels were made for a picture of another size.
        """
        if self.size is not None and self.size != (width, height):
            labelled_width, labelled_height = self.size
            raise PictureError(
                f"the picture is {width}x{height} pixels when upright, its labels are for "
                f"{labelled_width}x{labelled_height}"
            )
        return self.boxes * np.array([width, height, width, height]) if self.are_shares else self.boxes


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """One picture and its labels.

    Attributes:
        name: For messages: path relative to the data set where possible.
        path: Its file.
        labels: Its labels.
        error: Why its labels cannot be used, or None.
    """

    name: str
    path: Path
    labels: Labels
    error: PictureError | None = None

    def load(self) -> Path:
        """Returns the file; `Detector.detect_each` calls this in its threads.

        Raises:
            PictureError: The labels cannot be used, or there is no such regular file.
        """
        if self.error is not None:
            raise self.error
        if not self.path.is_file():  # a pipe or a device would never end
            raise PictureError(f"no such file: {str(self.path)!r}")
        return self.path


@dataclass(frozen=True, eq=False)
class DataSet:
    """Labelled pictures, and the names of their classes.

    Attributes:
        path: Folder or file that was read.
        format: Format of the labels.
        split: Name of the part that was read; empty if the data set has no parts.
        pictures: The pictures, in a stable order.
        names: Class name by id; empty if the data set names none.
        unlabelled: Ids of named classes of which the whole data set has no label; empty if that is not known.
        notes: What was read in another way than the user may think, one sentence each.
    """

    path: Path
    format: Format
    split: str
    pictures: Sequence[LabelledPicture]
    names: Mapping[int, str]
    unlabelled: frozenset[int] = frozenset()
    notes: Sequence[str] = field(default=())

    def labelled_classes(self) -> set[int]:
        """Returns the ids of the classes that have a label in `pictures`."""
        return {int(class_id) for picture in self.pictures for class_id in np.unique(picture.labels.class_ids)}


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns a number with its noun: `1 picture`, `2 pictures`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
