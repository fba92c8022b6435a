"""Rows of YOLO labels files: boxes, oriented boxes, polygons and boxes with keypoints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from azaion_engine.errors import InvalidParameterError
from azaion_engine.evaluation.data_set import Labels

_SLACK = 0.01
"""How far a coordinate may lie outside 0…1: label tools round, and rotated boxes reach over the edge a little."""

_BOX_COLUMNS, _ORIENTED_COLUMNS, _LEAST_POLYGON_COLUMNS = 5, 9, 7


def parse_rows(
    text: str, where: str, class_ids: Collection[int] | None = None, keypoint_columns: int | None = None
) -> tuple[Labels, Counter[str]]:
    """Parses a labels file.

    A row is `class cx cy w h`; `class x1 y1 x2 y2 x3 y3 x4 y4`, an oriented box; `class x1 y1 x2 y2 …`, a polygon of
    three points or more; or, with keypoints, `class cx cy w h` and the keypoints. Coordinates are shares of the upright
    picture's sides. Oriented boxes and polygons become the upright boxes around them.

    Args:
        text: Content of the file.
        where: Its name, for errors.
        class_ids: Ids that exist; None accepts all.
        keypoint_columns: Columns that the keypoints of a row take; None if rows have no keypoints.

    Returns:
        The labels, and the number of rows of each kind: `polygon`, `oriented box`, `keypoints`, `no area`.

    Raises:
        InvalidParameterError: A row is none of these; the message has its line.
    """
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[int] = []
    kinds: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        row = f"{where}, line {number}"
        columns = line.split()
        try:
            values = [float(column) for column in columns]
        except ValueError as error:
            raise InvalidParameterError(f"{row}: expected numbers, given {line.strip()[:60]!r}") from error
        class_id, kind, box = _parse_row(values, row, keypoint_columns)
        if class_ids is not None and class_id not in class_ids:
            raise InvalidParameterError(f"{row}: class {class_id} has no name in the data set")
        if kind:
            kinds[kind] += 1
        if box[2] <= box[0] or box[3] <= box[1]:
            kinds["no area"] += 1
            continue
        boxes.append(box)
        classes.append(class_id)
    made = np.array(boxes, np.float64).reshape(-1, 4)
    return Labels(made, np.array(classes, np.int64), np.zeros(len(boxes), np.bool_), are_shares=True), kinds


def _parse_row(
    values: Sequence[float], row: str, keypoint_columns: int | None
) -> tuple[int, str, tuple[float, float, float, float]]:
    """Returns class, kind (empty for a plain box) and box of a row."""
    columns = len(values)
    class_id, coordinates = values[0], values[1:]
    if not (math.isfinite(class_id) and class_id == int(class_id) and 0 <= class_id < 2**31):
        raise InvalidParameterError(f"{row}: a class is a whole number from 0 on, given {class_id:g}")
    has_keypoints = keypoint_columns is not None and columns == _BOX_COLUMNS + keypoint_columns
    if has_keypoints:
        coordinates = coordinates[:4]
    is_polygon = not has_keypoints and columns >= _LEAST_POLYGON_COLUMNS and columns % 2 == 1
    if not (columns == _BOX_COLUMNS or has_keypoints or is_polygon):
        more = "; a sixth column is the confidence of a detection, not a label" if columns == 6 else ""
        raise InvalidParameterError(
            f"{row}: expected 5 columns (class cx cy w h), 9 (class and four corners) or 7, 11, 13 … (class and a "
            f"polygon), given {columns}{more}"
        )
    # NaN compares false.
    if not all(-_SLACK <= value <= 1 + _SLACK for value in coordinates):
        wrong = next(value for value in coordinates if not -_SLACK <= value <= 1 + _SLACK)
        raise InvalidParameterError(f"{row}: coordinates are shares of the picture's sides, 0 to 1, given {wrong:g}")
    if is_polygon:
        x, y = coordinates[0::2], coordinates[1::2]
        kind = "oriented box" if columns == _ORIENTED_COLUMNS else "polygon"
        return int(class_id), kind, (min(x), min(y), max(x), max(y))
    cx, cy, width, height = coordinates
    box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    return int(class_id), "keypoints" if has_keypoints else "", box
