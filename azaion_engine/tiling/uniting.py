"""Uniting: of boxes that match, one is left; parts of one object become one box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from azaion_engine.geometry import corners_of
from azaion_engine.settings import Tiles
from azaion_engine.tiling.found import Found
from azaion_engine.tiling.pairs import Pairs


def merged(found: Found, pairs: Pairs, settings: Tiles) -> Found:
    """Drops and unites boxes; takes what `matching_pairs` returns."""
    unite = settings.merge == "greedy"
    order = np.lexsort((pairs.other, pairs.one))
    one, other, likeness = pairs.one[order], pairs.other[order], pairs.likeness[order]
    both_cut = found.cut[one]  # cut boxes rank last
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
    found: Found, one: NDArray[np.intp], other: NDArray[np.intp], likeness: NDArray[np.float64]
) -> tuple[Found, list[int]]:
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
