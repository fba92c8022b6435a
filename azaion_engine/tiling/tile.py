"""Tile: a rectangle of a picture that the network sees by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture, in pixels of the upright picture.

    Attributes:
        x: Left edge, 0 or greater.
        y: Upper edge, 0 or greater.
        width: At least 1.
        height: At least 1.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column to the right of it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.y + self.height

    def of(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Returns this rectangle of a picture `[height, width, …]`: a view, not a copy."""
        return picture[self.y : self.bottom, self.x : self.right]
