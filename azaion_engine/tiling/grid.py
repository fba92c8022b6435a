"""Grid: tiles of one size that overlap and cover every pixel of a picture."""

from __future__ import annotations

from collections.abc import Iterator

from azaion_engine.errors import InvalidParameterError
from azaion_engine.tiling.tile import Tile

MOST_OVERLAP = 0.75
"""Largest overlap: a pixel is then in 16 tiles."""


def grid(height: int, width: int, *, size: int | tuple[int, int], overlap: float) -> list[Tile]:
    """Returns the tiles of a picture, row by row.

    Every tile has the full size: the last row and the last column are moved inwards until they end with the picture.
    A picture smaller than a tile is one tile of its own height or width.

    Args:
        height: Of the picture, in pixels, at least 1.
        width: Likewise.
        size: Side of the tiles in pixels, or (height, width), at least 1.
        overlap: Share of a tile's side that the next one covers too, 0…0.75; rounded down to whole pixels.

    Raises:
        InvalidParameterError: A number is out of range.
    """
    return list(iterate_grid(height, width, size=size, overlap=overlap))


def iterate_grid(height: int, width: int, *, size: int | tuple[int, int], overlap: float) -> Iterator[Tile]:
    """Yields the tiles of `grid` one by one; needs no memory for them.

    Raises:
        InvalidParameterError: As `grid`, at once.
    """
    (tall, down), (wide, across) = _axes(height, width, size, overlap)
    return (
        Tile(x, y, min(wide, width), min(tall, height))
        for y in _starts(height, tall, down)
        for x in _starts(width, wide, across)
    )


def count_tiles(height: int, width: int, *, size: int | tuple[int, int], overlap: float) -> int:
    """Returns the number of tiles of `grid`, which takes the same arguments; makes none.

    Raises:
        InvalidParameterError: As `grid`.
    """
    (tall, down), (wide, across) = _axes(height, width, size, overlap)
    return _count(height, tall, down) * _count(width, wide, across)


def _axes(
    height: int, width: int, size: int | tuple[int, int], overlap: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (side of a tile, step to the next) down and across."""
    tall, wide = (size, size) if isinstance(size, int) else size
    if min(height, width, tall, wide) < 1:
        raise InvalidParameterError(f"tiles: sizes must be at least 1, given {size} for a picture {width}×{height}")
    if not 0 <= overlap <= MOST_OVERLAP:
        raise InvalidParameterError(f"tiles: overlap: expected 0 to {MOST_OVERLAP}, given {overlap}")
    return (tall, tall - int(tall * overlap)), (wide, wide - int(wide * overlap))


def _count(length: int, side: int, step: int) -> int:
    return -(-max(0, length - side) // step) + 1


def _starts(length: int, side: int, step: int) -> Iterator[int]:
    last = max(0, length - side)
    return (min(index * step, last) for index in range(_count(length, side, step)))
