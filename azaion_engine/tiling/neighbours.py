"""Neighbours: pairs of boxes that overlap, found with a spatial index."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import TooManyBoxesError

MOST_PAIRS = 8_000_000
"""Pairs of boxes in one cell that are looked at: seconds on one core. 100,000 boxes of a scene give 0.7 million;
noise, hundreds of boxes of one class on each other in every tile, gives more."""

_AT_ONCE = 1 << 19
"""Pairs that are looked at together: bounds the memory where many boxes lie on one place."""

_CORNERS = ((0, 1), (2, 1), (0, 3), (2, 3))


def overlapping_pairs(
    boxes: NDArray[np.float32], groups: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields all pairs of boxes of the same group that share area, each pair once, in chunks.

    The index is a hierarchy of square cells (a hierarchical hash grid; Ericson, Real-Time Collision Detection, 2005,
    7.2): a box belongs to the level whose cells are at least as large as it is, so it lies in at most four of them, and
    so does every smaller box. Each level's boxes are joined with all that are not larger. A cell is four times as wide
    as one of the level below: with half the levels there is less to sort, and hardly more pairs to look at.

    Args:
        boxes: float32 `[n, 4]` of x1, y1, x2, y2, x2 > x1 and y2 > y1, all 0 or greater and below 2^24.
        groups: int64 `[n]`: classes, at most 32,768 different ones.

    Yields:
        Two arrays of indices.

    Raises:
        TooManyBoxesError: More than `MOST_PAIRS` pairs would be looked at; raised before they are.
    """
    pairs = 0
    sides = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    levels = 2 * np.ceil(np.log2(np.maximum(sides, 1)) / 2).astype(np.int64)
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    for level in np.unique(levels):
        [targets] = (levels == level).nonzero()
        [queries] = (levels <= level).nonzero()
        keys, owners = _cells(boxes, groups, targets, level)
        order = keys.argsort(kind="stable")
        keys, owners = keys[order], owners[order]
        wanted, askers = _cells(boxes, groups, queries, level)
        first, last = keys.searchsorted(wanted), keys.searchsorted(wanted, "right")
        pairs += int((last - first).sum())
        if pairs > MOST_PAIRS:
            raise TooManyBoxesError(
                f"the tiles' {len(boxes)} boxes lie so densely that more than {MOST_PAIRS} pairs of them would be "
                "compared; ask for a higher confidence or fewer boxes of a tile (max_detections)"
            )
        for which, owner in _ranges(first, last):
            one, other = askers[which], owners[owner]
            # Within a level, each pair is found from both sides.
            keep = (levels[one] < level) | (one < other)
            which, one, other = which[keep], one[keep], other[keep]
            a, b = boxes[one], boxes[other]
            left, top = np.maximum(a[:, 0], b[:, 0]), np.maximum(a[:, 1], b[:, 1])
            shared = (left < np.minimum(a[:, 2], b[:, 2])) & (top < np.minimum(a[:, 3], b[:, 3]))
            # A pair may meet in several cells: the one that has the upper left corner of what they share counts.
            shared &= wanted[which] == _key(groups[one], left.astype(np.int64) >> level, top.astype(np.int64) >> level)
            yield one[shared], other[shared]


def _key(groups: NDArray[np.int64], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    return groups << 48 | y << 24 | x


def _cells(
    boxes: NDArray[np.float32], groups: NDArray[np.int64], chosen: NDArray[np.intp], level: int
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Returns a key for each cell that each chosen box touches, and the box's index."""
    cells = boxes[chosen].astype(np.int64) >> level
    keys = np.stack([_key(groups[chosen], cells[:, x], cells[:, y]) for x, y in _CORNERS], axis=1)
    new = np.ones(keys.shape, np.bool_)  # a box in one column or row of cells touches fewer than four
    new[:, 1] = keys[:, 1] != keys[:, 0]
    new[:, 2] = keys[:, 2] != keys[:, 0]
    new[:, 3] = new[:, 1] & new[:, 2]
    return keys[new], np.broadcast_to(chosen[:, None], keys.shape)[new]


def _ranges(first: NDArray[np.intp], last: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yields (index of the range, number in it) for all numbers of the ranges `first…last - 1`, in chunks."""
    counts = last - first
    ends = counts.cumsum()
    begin = 0
    while begin < len(counts):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(ends.searchsorted(before + _AT_ONCE, "right")))
        these = counts[begin:end]
        which = np.repeat(np.arange(begin, end), these)
        within = np.arange(len(which)) - np.repeat(ends[begin:end] - these - before, these)
        yield which, first[which] + within
        begin = end
