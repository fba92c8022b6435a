"""Merging: the rows of all windows of a scene become the scene's row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from azaion_batch.rows import Answer, from_table
from azaion_batch.settings import BatchSettings
from azaion_batch.sources.entry import Entry
from azaion_batch.stages.windows import CHANGED, open_scene, stamp_of, windows_in
from azaion_engine.errors import AzaionError, InvalidParameterError, PictureError
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.files import damage
from azaion_engine.scenes.windows import EmptyWindowError, SceneWindows, scaled
from azaion_engine.tiling.tile import Tile

_OLDER = "its windows are of an older release, without keypoints: run again with --retry-failed"
"""Why a scene has no boxes whose windows were read in part, or all but the whole, by a release without keypoints."""


def merged(
    entry: Entry,
    about: str,
    rows: Any,
    settings: BatchSettings,
    names: dict[int, str],
    detect: Callable[[Callable[[], NDArray[np.uint8]]], list[Detections | AzaionError]],
) -> list[Answer]:
    """Returns the boxes of a scene of its windows' rows, and an error if some windows are damaged.

    Args:
        entry: A `tiled` one.
        about: What the reader told of it.
        rows: What the reader returned for it, a buffer.
        settings: The job's.
        names: Class names by id.
        detect: Runs the network on the picture that a function returns; asked for the whole scene.

    Raises:
        PictureError: The scene cannot be read, or its options do not fit it, or it is not the one whose windows the
            rows have.
    """
    try:
        stamp = stamp_of(entry.place)
        with open_scene(entry.place, settings.scenes.bands) as scene:
            windows = windows_in(scene, settings, tuple(json.loads(about)))
            _check(rows, windows, stamp)
            answers = _merged(entry, windows, rows, names, detect)
            if stamp_of(entry.place) != stamp:  # the overviews may be another file's
                raise PictureError(CHANGED)
            return answers
    except InvalidParameterError as error:  # the file's fault: others may follow the same options
        raise PictureError(str(error)) from error


def _merged(
    entry: Entry,
    windows: SceneWindows,
    rows: Any,
    names: dict[int, str],
    detect: Callable[[Callable[[], NDArray[np.uint8]]], list[Detections | AzaionError]],
) -> list[Answer]:
    merger, average = windows.merger(), windows.average()
    damaged: list[tuple[Tile, PictureError]] = []
    are_posed: set[bool] = set()

    def add(tile: Tile, found: Detections | AzaionError) -> None:
        if isinstance(found, PictureError) and not isinstance(found, EmptyWindowError):
            damaged.append((tile, found))
        elif isinstance(found, Detections) and len(found):
            are_posed.add(found.keypoints is not None)
            if len(are_posed) > 1:
                raise PictureError(_OLDER)
            merger.add(tile, found)

    def add_whole(load: Callable[[], NDArray[np.uint8]]) -> None:
        for found in detect(load):
            add(windows.everything, scaled(found, windows.everything) if isinstance(found, Detections) else found)

    if windows.whole == "overviews":
        add_whole(windows.read_whole)
    for tile, (part, answer) in zip(windows.tiles(), _answers(rows), strict=True):
        if part and average is not None:
            average.add_part(part)
        add(tile, answer.found)
    if average is not None:
        add_whole(partial(windows.read_whole, average))
    answers = [Answer(entry.source, entry.name, windows.finish(merger, names))]
    return [*answers, Answer(entry.source, entry.name, damage(damaged))] if damaged else answers


def _check(rows: Any, windows: SceneWindows, stamp: str) -> None:
    """Raises PictureError if the rows are not those of all windows, in their order, of a file with this stamp."""
    import pyarrow as pa

    expected = windows.tiles()
    for batch in pa.ipc.open_stream(rows):
        columns = (batch.column(name).to_pylist() for name in ("x", "y", "width", "height", "stamp"))
        for x, y, width, height, told in zip(*columns, strict=True):
            tile = next(expected, None)
            # A damaged window has no size; windows of older releases have no stamp.
            if tile is None or (x, y) != (tile.x, tile.y) or told not in (stamp, None):
                raise PictureError(CHANGED)
            if width is not None and (width, height) != (tile.width, tile.height):
                raise PictureError(CHANGED)
    if next(expected, None) is not None:
        raise PictureError("windows of the scene are missing: run again with --retry-failed")


def _answers(rows: Any) -> Iterator[tuple[bytes | None, Answer]]:
    """Yields the part of the average of each window, and its answer."""
    import pyarrow as pa

    for batch in pa.ipc.open_stream(rows):
        yield from zip(batch.column("average").to_pylist(), from_table(batch), strict=True)
