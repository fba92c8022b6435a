"""Pairs: boxes of different tiles that match, and which of the two ranks before the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from azaion_engine.settings import Tiles
from azaion_engine.tiling.found import TOUCHES, Found
from azaion_engine.tiling.neighbours import overlapping_pairs
from azaion_engine.tiling.rectangles import areas_of, common, shared_areas, shared_oriented_areas

_SAME = 0.5
"""IoU above which a box of the whole picture and one of a tile are the same object: COCO's loosest (cocodataset.org,
"Detection evaluation")."""

_WHOLE, _DOUBTED, _CUT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of boxes that match.

    Attributes:
        one: int `[p]`: index of the box that ranks before the other.
        other: int `[p]`.
        likeness: float64 `[p]`: IoU, that of the parts in both tiles if it is greater.
    """

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    likeness: NDArray[np.float64]

    def within(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Returns the pairs of chosen boxes, with their indices among these."""
        new = chosen.cumsum() - 1
        both = chosen[self.one] & chosen[self.other]
        return Pairs(new[self.one[both]], new[self.other[both]], self.likeness[both])


def matching_pairs(found: Found, settings: Tiles) -> tuple[Found, Pairs]:
    """Returns the boxes in the order of their ranks, and those pairs of them that match.

    Args:
        found: At least one box.
        settings: How boxes are matched.

    Raises:
        TooManyBoxesError: They lie too densely, see `neighbours.MOST_PAIRS`.
    """
    ones, others, likenesses = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)], [np.zeros(0)]
    for one, other in overlapping_pairs(found.boxes, found.class_ids):
        apart = (found.tiles[one] != found.tiles[other]).any(axis=1)
        one, other = one[apart], other[apart]
        matching, likeness = _compare(found, one, other, settings)
        ones.append(one[matching])
        others.append(other[matching])
        likenesses.append(likeness[matching])
    one, other, likeness = np.concatenate(ones), np.concatenate(others), np.concatenate(likenesses)
    order = np.lexsort((found.coarse, -found.confidences, _tiers(found, one, other, likeness)))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    one, other = rank[one], rank[other]
    return found.only(order), Pairs(np.minimum(one, other), np.maximum(one, other), likeness)


def _tiers(
    found: Found, one: NDArray[np.intp], other: NDArray[np.intp], likeness: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Returns the tier of each box, int `[n]`: a lower one ranks first, whatever the confidences.

    Cut boxes come last. Before them come boxes that are whole in doubt, by what a box of the whole picture and one of a
    tile that match say of each other:

    - if the tile shows the object whole, the box of the whole picture is doubted: it is the same one, less exact;
    - if the object reaches out of the tile, the tile's box is doubted: it is a part that ends before the border. A
      small box within the large one is doubted only if some tile has cut the large one: else it may be another object,
      and the large one a mistake.

    Args:
        found: The boxes.
        one: int `[p]`: of the pairs that match, in any order.
        other: int `[p]`.
        likeness: float64 `[p]`, as in `Pairs`.
    """
    tiers = np.where(found.cut, _CUT, _WHOLE)
    if not found.coarse.any():
        return tiers
    mixed = found.coarse[one] != found.coarse[other]
    one, other, likeness = one[mixed], other[mixed], likeness[mixed]
    coarse, exact = np.where(found.coarse[one], (one, other), (other, one))
    same, cut = likeness > _SAME, found.cut[exact]
    boxes, tiles = found.boxes[coarse], found.tiles[exact]
    near = TOUCHES * (found.tiles[coarse, 2:] - found.tiles[coarse, :2]).max(axis=1, initial=1, keepdims=True)
    held = ((boxes[:, :2] >= tiles[:, :2] - near) & (boxes[:, 2:] <= tiles[:, 2:] + near)).all(axis=1)
    seen_cut = np.zeros(len(found), np.bool_)
    seen_cut[coarse[same & cut & ~held]] = True
    tiers[coarse[same & ~cut & held]] = _DOUBTED
    tiers[exact[(same | seen_cut[coarse]) & ~cut & ~held]] = _DOUBTED
    return tiers


def _compare(
    found: Found, one: NDArray[np.intp], other: NDArray[np.intp], settings: Tiles
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
