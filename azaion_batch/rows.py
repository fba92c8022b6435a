"""Rows: the columns of results, made from detections and read back; and errors that end the job on their way."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from azaion_batch.sources.tables import NAMES_KEY
from azaion_engine.errors import AzaionError, PictureError
from azaion_engine.results.detections import Detections

_FEW_CLASSES = 1000
"""Classes up to which the names of all are made, which takes less time than finding those that occur."""


class Answer(NamedTuple):
    """What was found in one picture.

    Attributes:
        source: Path or address of its source.
        name: Relative path for outputs.
        found: Its boxes, or why there are none.
        frame: Index in a video; None for others.
        time_s: Time stamp of a frame, in seconds.
    """

    source: str
    name: str
    found: Detections | AzaionError
    frame: int | None = None
    time_s: float | None = None


def schema() -> Any:
    """Returns the pyarrow schema of a part.

    `boxes` are x1, y1, x2, y2 in pixels of the upright picture, most confident first; `oriented` are centre x, centre
    y, width, height in pixels and angle in radians, null for upright boxes; `keypoints` are x, y in pixels and
    visibility, null for other than pose models. Where `error` is not null, there are no boxes. `model` is the SHA-256
    of the model, `settings` the name of the file in `settings/` that holds the others.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ("source", pa.string()),
            ("name", pa.string()),
            ("frame", pa.int64()),
            ("time_s", pa.float64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("boxes", pa.list_(pa.list_(pa.float32(), 4))),
            ("confidences", pa.list_(pa.float32())),
            ("class_ids", pa.list_(pa.int64())),
            ("class_names", pa.list_(pa.string())),
            ("oriented", pa.list_(pa.list_(pa.float32(), 5))),
            ("keypoints", pa.list_(pa.list_(pa.list_(pa.float32(), 3)))),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("model", pa.string()),
            ("settings", pa.string()),
        ]
    )


def to_table(answers: Sequence[Answer], model: str, key: str, names: Mapping[int, str]) -> Any:
    """Returns the rows of answers as a pyarrow table, with the model's class names in its metadata.

    Args:
        answers: One for each row.
        model: SHA-256 of the model.
        key: Of the settings.
        names: Class names by id.
    """
    import pyarrow as pa

    founds = [one.found if isinstance(one.found, Detections) else None for one in answers]
    errors = [one.found if isinstance(one.found, AzaionError) else None for one in answers]
    full = [found for found in founds if found is not None]
    offsets = np.cumsum([0, *(0 if found is None else len(found) for found in founds)], dtype=np.int32)
    boxes = np.concatenate([found.boxes for found in full]) if full else np.zeros((0, 4), np.float32)
    ids = np.concatenate([found.class_ids for found in full]) if full else np.zeros(0, np.int64)
    scores = np.concatenate([found.confidences for found in full]) if full else np.zeros(0, np.float32)
    # A name is looked up once, not for each box; a wrong model may make any number of classes.
    most = int(ids.max(initial=-1)) + 1
    known, which = (np.arange(most), ids) if most <= _FEW_CLASSES else np.unique(ids, return_inverse=True)
    texts = pa.array([names.get(one, f"class_{one}") for one in known.tolist()], pa.string())
    class_names = texts.take(pa.array(which))
    fields = schema()
    oriented, keypoints = (pa.nulls(len(answers), fields.field(name).type) for name in ("oriented", "keypoints"))
    # A window that was not run has none.
    if turned := [found.oriented for found in full if found.oriented is not None]:
        oriented = _lists(offsets, _fixed_lists(np.concatenate(turned)))
    if posed := [found.keypoints for found in full if found.keypoints is not None]:
        points = np.concatenate(posed)
        of_boxes = np.arange(len(points) + 1, dtype=np.int32) * points.shape[1]
        keypoints = _lists(offsets, _lists(of_boxes, _fixed_lists(points)))
    columns = [
        pa.array([one.source for one in answers], pa.string()),
        pa.array([one.name for one in answers], pa.string()),
        pa.array([one.frame for one in answers], pa.int64()),
        pa.array([one.time_s for one in answers], pa.float64()),
        pa.array([None if found is None else found.picture_width for found in founds], pa.int32()),
        pa.array([None if found is None else found.picture_height for found in founds], pa.int32()),
        _lists(offsets, _fixed_lists(boxes)),
        _lists(offsets, pa.array(scores, pa.float32())),
        _lists(offsets, pa.array(ids, pa.int64())),
        _lists(offsets, class_names),
        oriented,
        keypoints,
        pa.array([None if error is None else error.code for error in errors], pa.string()),
        pa.array([None if error is None else str(error) for error in errors], pa.string()),
        pa.repeat(pa.scalar(model, pa.string()), len(answers)),
        pa.repeat(pa.scalar(key, pa.string()), len(answers)),
    ]
    return pa.Table.from_arrays(columns, schema=fields.with_metadata({NAMES_KEY: json.dumps(dict(names))}))


def names_of(schema: Any) -> dict[int, str]:
    """Returns the class names in the metadata of a part's schema."""
    return {int(key): name for key, name in json.loads((schema.metadata or {}).get(NAMES_KEY, "{}")).items()}


def _lists(offsets: Any, values: Any) -> Any:
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _fixed_lists(values: NDArray[np.float32]) -> Any:
    """Returns the last axis of an array as lists of its length."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[-1])


def from_table(table: Any) -> list[Answer]:
    """Returns the answers of a record batch that `to_table` made; errors are PictureErrors with the code of the row."""
    names = names_of(table.schema)
    plain = table.select(["source", "name", "frame", "time_s", "width", "height", "error_code", "error"]).to_pylist()
    offsets = table.column("class_ids").offsets.to_numpy().tolist()
    # The boxes as arrays: a scene has some hundred thousand.
    boxes = table.column("boxes").values.flatten().to_numpy().reshape(-1, 4)
    scores, ids = (table.column(name).values.to_numpy() for name in ("confidences", "class_ids"))
    turned, posed = _of_boxes(table, "oriented", 5), _of_boxes(table, "keypoints", -1, 3)
    answers = []
    for row, start, end, oriented, keypoints in zip(plain, offsets[:-1], offsets[1:], turned, posed, strict=True):
        found: Detections | AzaionError
        if row["error"] is not None:
            found = PictureError(row["error"])
            found.code = row["error_code"]
        else:
            found = Detections(
                boxes=boxes[start:end],
                confidences=scores[start:end],
                class_ids=ids[start:end],
                picture_width=row["width"],
                picture_height=row["height"],
                names=names,
                oriented=oriented,
                keypoints=keypoints,
            )
        answers.append(Answer(row["source"], row["name"], found, row["frame"], row["time_s"]))
    return answers


def _of_boxes(table: Any, name: str, *each: int) -> list[NDArray[np.float32] | None]:
    """Returns the values of a column for the boxes of each row, float32 `[boxes, *each]`; None where it has none.

    Rows without boxes may be null in either case; parts of older releases have no keypoints.
    """
    column: Any = table.column(name) if name in table.schema.names else ()
    if not len(column) or not (count := len(column.values)):
        return [None] * len(table)
    values = column.values
    for _ in each:
        values = values.flatten()
    made = values.to_numpy().reshape(count, *each)
    offsets = column.offsets.to_numpy().tolist()
    rows = zip(column.is_valid().to_pylist(), offsets[:-1], offsets[1:], strict=True)
    return [made[start:end] if is_valid else None for is_valid, start, end in rows]


def portable(error: Exception) -> Exception:
    """Returns an error that can be pickled: the library's and the system's as they are, a bug's traceback as text."""
    if isinstance(error, (AzaionError, OSError)):
        return error
    return RuntimeError("".join(traceback.format_exception(error)).rstrip())
