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
from azaion_batch.stages.windows import open_scene, windows_in
from azaion_engine.errors import AzaionError, InvalidParameterError, PictureError
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.files import damage
from azaion_engine.scenes.windows import EmptyWindowError, SceneWindows, scaled
from azaion_engine.tiling.tile import Tile


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
        with open_scene(entry.place, settings.scenes.bands) as scene:
            windows = windows_in(scene, settings, tuple(json.loads(about)))
            return _merged(entry, windows, rows, names, detect)
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
    expected = windows.tiles()

    def add(tile: Tile, found: Detections | AzaionError) -> None:
        if isinstance(found, PictureError) and not isinstance(found, EmptyWindowError):
            damaged.append((tile, found))
        elif isinstance(found, Detections) and len(found):
            merger.add(tile, found)

    def add_whole(load: Callable[[], NDArray[np.uint8]]) -> None:
        for found in detect(load):
            add(windows.everything, scaled(found, windows.everything) if isinstance(found, Detections) else found)

    if windows.whole == "overviews":
        add_whole(windows.read_whole)
    for (x, y, part), answer in _answers(rows):
        tile = next(expected, None)
        if tile is None or (tile.x, tile.y) != (x, y) or not _fits(answer.found, tile):
            raise PictureError("the scene is not the one that the job began with: run again with --retry-failed")
        if part and average is not None:
            average.add_part(part)
        add(tile, answer.found)
    if next(expected, None) is not None:
        raise PictureError("windows of the scene are missing")
    if average is not None:
        add_whole(partial(windows.read_whole, average))
    answers = [Answer(entry.source, entry.name, windows.finish(merger, names))]
    return [*answers, Answer(entry.source, entry.name, damage(damaged))] if damaged else answers


def _fits(found: Detections | AzaionError, tile: Tile) -> bool:
    return not isinstance(found, Detections) or (found.picture_width, found.picture_height) == (tile.width, tile.height)


def _answers(rows: Any) -> Iterator[tuple[tuple[int, int, bytes | None], Answer]]:
    """Yields x, y and part of the average of each window, and its answer."""
    import pyarrow as pa

    for batch in pa.ipc.open_stream(rows):
        places = (batch.column(name).to_pylist() for name in ("x", "y", "average"))
        yield from zip(zip(*places, strict=True), from_table(batch), strict=True)
