"""Merging: the boxes of all tiles of a picture become the picture's.

An object in the overlap of tiles is found several times, and one that crosses the border of a tile is found cut off.
Only boxes of one class and of different tiles are compared: two boxes of one tile are two objects, as the network or
its suppression has decided already. A box that touches an inner border of its tile may be part of an object, so

- a box that is whole ranks before one that is cut, then the more confident one before the other;
- boxes match if their intersection over the smaller one (IOS) or their union (IoU) is above the threshold. A cut box
  also matches if the parts of both that lie in both tiles have an IoU above it: a part in one tile and the whole object
  in the other are equal there. The IOS of a whole box within a cut one says nothing: it may be another object;
- in the order of their ranks, each box that is left drops those that match it, so a cut one gives way to the whole one;
- of the whole picture as a tile, only boxes larger than the overlap of the others count: a tile shows smaller ones
  whole. A larger one gives way to a tile's whole box that is the same object, however confident either is: the tile
  shows the object at full size. It goes first where the object reaches out of that tile (`pairs`);
- if `merge` is `greedy`, a whole box takes the highest confidence of those that it drops, and cut boxes that match each
  other become one box around both, at most one of each tile; it has each keypoint of the part that sees it best.

SAHI (github.com/obss/sahi, `GreedyNMMPostprocess`) instead unites all that match, of one tile too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidTensorError
from azaion_engine.geometry import corners_of, enclosing
from azaion_engine.results.detections import Detections
from azaion_engine.settings import Tiles
from azaion_engine.tiling.found import Found
from azaion_engine.tiling.pairs import matching_pairs
from azaion_engine.tiling.tile import Tile
from azaion_engine.tiling.uniting import merged

_SETTLED_FROM = 50_000
"""Boxes that are waiting for later tiles from which on those that wait for none are merged."""


class Merger:
    """Merges the boxes of tiles that come one after the other, from the top of the picture to its bottom.

    Boxes that no later tile can change are merged as soon as there are many, so that memory holds the boxes of the
    rows of tiles in work, and those that are final. The result is that of `merge`, but for the boxes of a whole picture
    that comes last: final ones that they touch are merged again.
    """

    def __init__(self, picture: tuple[int, int], settings: Tiles) -> None:
        """Begins without boxes.

        Args:
            picture: (height, width) of the whole picture, in pixels.
            settings: How boxes are merged.
        """
        self._picture = picture
        self._settings = settings
        self._names: Mapping[int, str] = {}
        self._top = 0
        self._least = 0.0  # side that a box of the whole picture must exceed
        self._taken: list[tuple[Tile, Detections]] = []  # in pixels of the tile
        self._waiting: list[Found] = []
        self._whole: list[tuple[Tile, Detections]] = []
        self._final: list[Found] = []
        self._count, self._settle_at = 0, _SETTLED_FROM

    def add(self, tile: Tile, found: Detections) -> None:
        """Takes the boxes of a tile.

        Args:
            tile: No tile before was further down; the whole picture as a tile comes first or last.
            found: In pixels of the tile.

        Raises:
            InvalidTensorError: The boxes are of another size of picture, or the order of the tiles is another.
            TooManyBoxesError: As `finish`.
        """
        if (found.picture_width, found.picture_height) != (tile.width, tile.height):
            raise InvalidTensorError(
                f"expected boxes of {tile}, given those of {found.picture_width}×{found.picture_height} pixels"
            )
        whole = (tile.height, tile.width) == self._picture
        if tile.y < self._top and not whole:
            raise InvalidTensorError(
                f"expected tiles from the top of the picture to its bottom, given {tile} after one at y={self._top}"
            )
        self._names = self._names or found.names
        if whole:
            self._whole.append((tile, found))
            return
        self._top = tile.y
        self._least = self._settings.overlap * min(tile.width, tile.height)
        self._take_whole()
        self._take(tile, found)

    def _take_whole(self) -> None:
        """Takes the whole picture's boxes that are larger than the tiles' overlap.

        Smaller objects are whole in a tile, at a size that the network knows; shrunk, a car may look like a person.
        """
        for tile, found in self._whole:
            sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=0)
            found = found.only(sides > self._least)
            self._reopen(found.boxes)
            self._take(tile, found)
        self._whole = []

    def _reopen(self, boxes: NDArray[np.float32]) -> None:
        """Takes the boxes that these touch out of the final ones: parts of large objects give way to them."""
        if not self._final or not len(boxes):
            return
        final = Found.together(self._final)
        touched = np.zeros(len(final), np.bool_)
        for x1, y1, x2, y2 in boxes:
            left, top, right, bottom = final.boxes.T
            touched |= (left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)
        self._final = [final.only(~touched)]
        self._waiting.append(final.only(touched))

    def _take(self, tile: Tile, found: Detections) -> None:
        self._taken.append((tile, found))
        self._count += len(found)
        if self._count >= self._settle_at:
            self._settle()

    def finish(self) -> Detections:
        """Returns the boxes of the whole picture; the merger takes no more.

        Raises:
            TooManyBoxesError: They lie too densely, see `neighbours.MOST_PAIRS`.
        """
        self._take_whole()  # those that came last
        parts = self._final
        if waiting := self._all_waiting():
            parts = [*parts, merged(*matching_pairs(Found.together(waiting), self._settings), self._settings)]
        height, width = self._picture
        none = np.zeros((0, 4), np.float32)
        if not parts:
            return Detections(none, none[:, 0], np.zeros(0, np.int64), width, height, self._names)
        found = Found.together(parts)
        order = np.argsort(-found.confidences, kind="stable")
        boxes, oriented = found.boxes[order], None
        if found.oriented.shape[1]:
            oriented = found.oriented[order]
            boxes = np.clip(enclosing(corners_of(oriented)), 0, [width, height] * 2).astype(np.float32)
        return Detections(
            boxes,
            found.confidences[order],
            found.class_ids[order],
            width,
            height,
            self._names,
            oriented,
            keypoints=found.keypoints[order] if found.keypoints.shape[1] else None,
        )

    def _all_waiting(self) -> list[Found]:
        taken, self._taken = self._taken, []
        return [*self._waiting, Found.of_tiles(taken, self._picture)] if taken else self._waiting

    def _settle(self) -> None:
        """Merges the boxes that match none, directly or through others, that a later tile may match."""
        found, pairs = matching_pairs(Found.together(self._all_waiting()), self._settings)
        open_ = found.boxes[:, 3] > self._top
        while True:
            reached = open_[pairs.one] != open_[pairs.other]
            if not reached.any():
                break
            open_[pairs.one[reached]] = open_[pairs.other[reached]] = True
        self._final.append(merged(found.only(~open_), pairs.within(~open_), self._settings))
        self._waiting = [found.only(open_)]
        self._count = int(open_.sum())
        self._settle_at = max(_SETTLED_FROM, 2 * self._count)


def merge(parts: Iterable[tuple[Tile, Detections]], picture: tuple[int, int], settings: Tiles) -> Detections:
    """Merges the boxes of all tiles of a picture.

    Args:
        parts: Each tile with its boxes, in pixels of the tile; in any order.
        picture: (height, width) of the whole picture, in pixels.
        settings: How boxes are merged.

    Returns:
        The boxes in pixels of the picture, most confident first.

    Raises:
        TooManyBoxesError: They lie too densely, see `neighbours.MOST_PAIRS`.
        InvalidTensorError: The boxes of a tile are of another size of picture.
    """
    merger = Merger(picture, settings)
    for tile, found in sorted(parts, key=lambda part: part[0].y):
        merger.add(tile, found)
    return merger.finish()
