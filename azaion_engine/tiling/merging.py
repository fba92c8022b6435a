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
  whole;
- if `merge` is `greedy`, a whole box takes the highest confidence of those that it drops, and cut boxes that match each
  other become one box around both, at most one of each tile; it has each keypoint of the part that sees it best.

SAHI (github.com/obss/sahi, `GreedyNMMPostprocess`) instead unites all that match, of one tile too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import InvalidTensorError
from azaion_engine.geometry import corners_of, enclosing
from azaion_engine.results.detections import Detections
from azaion_engine.settings import Tiles
from azaion_engine.tiling.neighbours import overlapping_pairs
from azaion_engine.tiling.rectangles import areas_of, common, shared_areas, shared_oriented_areas
from azaion_engine.tiling.tile import Tile

_TOUCHES = 1 / 256
"""Share of a tile's side, at least one pixel, within which a box touches a border: networks miss it by 1 or 2 pixels
of their input."""

_SETTLED_FROM = 50_000
"""Boxes that are waiting for later tiles from which on those that wait for none are merged."""


@dataclass(frozen=True, eq=False)
class _Found:
    """Boxes of several tiles, in pixels of the picture; arrays of one length.

    Attributes:
        boxes: float32 `[n, 4]`.
        confidences: float32 `[n]`.
        class_ids: int64 `[n]`.
        tiles: float32 `[n, 4]`: x1, y1, x2, y2 of each box's tile.
        cut: bool `[n]`: it touches an inner border of its tile.
        oriented: float32 `[n, 5]`, or `[n, 0]` for upright boxes.
        keypoints: float32 `[n, count, 3]`; count is 0 for boxes without.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    tiles: NDArray[np.float32]
    cut: NDArray[np.bool_]
    oriented: NDArray[np.float32]
    keypoints: NDArray[np.float32]

    @classmethod
    def of_tile(cls, tile: Tile, found: Detections, picture: tuple[int, int]) -> _Found:
        """Moves a tile's boxes to where they are in the picture."""
        height, width = picture
        edges = np.array([tile.x, tile.y, tile.right, tile.bottom], np.float32)
        boxes = found.boxes + edges[[0, 1, 0, 1]]
        inner = np.array([tile.x > 0, tile.y > 0, tile.right < width, tile.bottom < height])
        near = np.maximum(np.array([tile.width, tile.height] * 2) * _TOUCHES, 1)
        oriented = np.zeros((len(found), 0), np.float32)
        if found.oriented is not None:
            oriented = found.oriented + np.array([tile.x, tile.y, 0, 0, 0], np.float32)
        keypoints = np.zeros((len(found), 0, 3), np.float32)
        if found.keypoints is not None:
            keypoints = found.keypoints + np.array([tile.x, tile.y, 0], np.float32)
        return cls(
            boxes,
            found.confidences,
            found.class_ids,
            np.broadcast_to(edges, (len(found), 4)),
            ((np.abs(boxes - edges) <= near) & inner).any(axis=1),
            oriented,
            keypoints,
        )

    @classmethod
    def together(cls, parts: list[_Found]) -> _Found:
        """Joins several; there is at least one."""
        return cls(*(np.concatenate([getattr(one, field.name) for one in parts]) for field in fields(cls)))

    def only(self, which: NDArray[Any]) -> _Found:
        """Returns those that an index of arrays chooses."""
        return _Found(*(getattr(self, field.name)[which] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.boxes)


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
        self._waiting: list[_Found] = []
        self._whole: list[tuple[Tile, Detections]] = []
        self._final: list[_Found] = []
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
        final = _Found.together(self._final)
        touched = np.zeros(len(final), np.bool_)
        for x1, y1, x2, y2 in boxes:
            left, top, right, bottom = final.boxes.T
            touched |= (left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)
        self._final = [final.only(~touched)]
        self._waiting.append(final.only(touched))

    def _take(self, tile: Tile, found: Detections) -> None:
        self._waiting.append(_Found.of_tile(tile, found, self._picture))
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
        if self._waiting:
            parts = [*parts, _merged(*_matches(_Found.together(self._waiting), self._settings), self._settings)]
        height, width = self._picture
        none = np.zeros((0, 4), np.float32)
        if not parts:
            return Detections(none, none[:, 0], np.zeros(0, np.int64), width, height, self._names)
        found = _Found.together(parts)
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

    def _settle(self) -> None:
        """Merges the boxes that match none, directly or through others, that a later tile may match."""
        found, pairs = _matches(_Found.together(self._waiting), self._settings)
        open_ = found.boxes[:, 3] > self._top
        while True:
            reached = open_[pairs.one] != open_[pairs.other]
            if not reached.any():
                break
            open_[pairs.one[reached]] = open_[pairs.other[reached]] = True
        self._final.append(_merged(found.only(~open_), pairs.within(~open_), self._settings))
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


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of boxes that match.

    Attributes:
        one: int `[p]`: index of the box that ranks before the other.
        other: int `[p]`.
        likeness: float64 `[p]`: IoU, that of the parts in both tiles if it is greater.
    """

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    likeness: NDArray[np.float64]

    def within(self, chosen: NDArray[np.bool_]) -> _Pairs:
        """Returns the pairs of chosen boxes, with their indices among these."""
        new = chosen.cumsum() - 1
        both = chosen[self.one] & chosen[self.other]
        return _Pairs(new[self.one[both]], new[self.other[both]], self.likeness[both])


def _matches(found: _Found, settings: Tiles) -> tuple[_Found, _Pairs]:
    """Returns the boxes in the order of their ranks, and those pairs of them that match."""
    order = np.lexsort((-found.confidences, found.cut))
    found = found.only(order)
    ones, others, likenesses = [], [], []
    for one, other in overlapping_pairs(found.boxes, found.class_ids):
        apart = (found.tiles[one] != found.tiles[other]).any(axis=1)
        one, other = np.minimum(one[apart], other[apart]), np.maximum(one[apart], other[apart])
        matching, likeness = _compare(found, one, other, settings)
        ones.append(one[matching])
        others.append(other[matching])
        likenesses.append(likeness[matching])
    if not ones:
        nothing = np.zeros(0, np.intp)
        return found, _Pairs(nothing, nothing, np.zeros(0))
    return found, _Pairs(np.concatenate(ones), np.concatenate(others), np.concatenate(likenesses))


def _compare(
    found: _Found, one: NDArray[np.intp], other: NDArray[np.intp], settings: Tiles
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Returns which pairs match, and how alike the two boxes of each are."""
    if found.oriented.shape[1]:
        a, b = found.oriented[one], found.oriented[other]
        area_a, area_b = (one_of[:, 2].astype(np.float64) * one_of[:, 3] for one_of in (a, b))
        shared = shared_oriented_areas(a, b)
    else:
        a, b = found.boxes[one], found.boxes[other]
        area_a, area_b = areas_of(a), areas_of(b)
        shared = shared_areas(a, b)
    iou = shared / (area_a + area_b - shared)
    cut_a, cut_b = found.cut[one], found.cut[other]
    matching = iou > settings.threshold
    if settings.match == "ios":
        smaller_is_cut = np.where(area_a < area_b, cut_a, cut_b)
        matching |= (shared / np.minimum(area_a, area_b) > settings.threshold) & (smaller_is_cut | ~(cut_a | cut_b))
    [cut] = (cut_a | cut_b).nonzero()
    seen_by_both = common(found.tiles[one[cut]], found.tiles[other[cut]])
    a, b = common(found.boxes[one[cut]], seen_by_both), common(found.boxes[other[cut]], seen_by_both)
    shared = shared_areas(a, b)
    with np.errstate(invalid="ignore"):  # neither is in both tiles: NaN is above no threshold
        likeness = np.nan_to_num(shared / (areas_of(a) + areas_of(b) - shared))
    matching[cut] |= likeness > settings.threshold
    iou[cut] = np.maximum(iou[cut], likeness)
    return matching, iou


def _merged(found: _Found, pairs: _Pairs, settings: Tiles) -> _Found:
    """Drops and unites boxes; takes what `_matches` returns."""
    unite = settings.merge == "greedy"
    order = np.lexsort((pairs.other, pairs.one))
    one, other, likeness = pairs.one[order], pairs.other[order], pairs.likeness[order]
    both_cut = found.cut[one]  # whole boxes rank first
    dropping = ~both_cut if unite else np.ones(len(one), np.bool_)
    dropped = [False] * len(found)
    for by, which in zip(one[dropping].tolist(), other[dropping].tolist(), strict=True):
        if not dropped[by]:  # decided: all that rank before it have had their turn
            dropped[which] = True
    gone = np.array(dropped, np.bool_)
    if unite:
        confidences = found.confidences.copy()
        giving = dropping & ~gone[one] & gone[other]
        most_alike = np.lexsort((-likeness[giving], other[giving]))
        givers, first = np.unique(other[giving][most_alike], return_index=True)
        np.maximum.at(confidences, one[giving][most_alike][first], found.confidences[givers])
        found = replace(found, confidences=confidences)
        parts = both_cut & ~gone[one] & ~gone[other]
        found, united = _united(found, one[parts], other[parts], likeness[parts])
        gone[united] = True
    return found.only(~gone)


def _united(
    found: _Found, one: NDArray[np.intp], other: NDArray[np.intp], likeness: NDArray[np.float64]
) -> tuple[_Found, list[int]]:
    """Unites parts of objects, the most alike first; returns the boxes, and which of them are now in others."""
    members: dict[int, list[int]] = {}
    home: dict[int, int] = {}
    tiles = found.tiles
    order = np.argsort(-likeness, kind="stable")
    for a, b in zip(one[order].tolist(), other[order].tolist(), strict=True):
        first, second = sorted((home.get(a, a), home.get(b, b)))
        if first == second:
            continue
        joined = members.get(first, [first]) + members.get(second, [second])
        if len({tuple(tiles[part].tolist()) for part in joined}) < len(joined):
            continue  # two objects of one tile
        members.pop(second, None)
        members[first] = joined
        home.update((part, first) for part in joined)
    if not members:
        return found, []
    boxes, oriented, confidences = found.boxes.copy(), found.oriented.copy(), found.confidences.copy()
    keypoints = found.keypoints.copy()
    for first, parts in members.items():
        boxes[first] = [*found.boxes[parts, :2].min(axis=0), *found.boxes[parts, 2:].max(axis=0)]
        confidences[first] = found.confidences[parts].max()
        if oriented.shape[1]:
            oriented[first] = _around(found.oriented[parts])
        if keypoints.shape[1]:
            seen = found.keypoints[parts]
            keypoints[first] = np.take_along_axis(seen, seen[:, :, 2:].argmax(axis=0)[None], axis=0)[0]
    found = replace(found, boxes=boxes, oriented=oriented, confidences=confidences, keypoints=keypoints)
    return found, [part for first, parts in members.items() for part in parts if part != first]


def _around(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the oriented box around several, `[n, 5]`, with the angle of the first."""
    angle = float(boxes[0, 4])
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = corners_of(boxes).reshape(-1, 2) @ axes.T
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([*((low + high) / 2 @ axes), *(high - low), angle])
