"""Windows: scenes as rows, a row a window: their shares, read by tasks, and the tables of what was found in them."""

from __future__ import annotations

import atexit
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from azaion_batch.plan import WINDOWS, Chunk, place_of
from azaion_batch.rows import Answer
from azaion_batch.settings import BatchSettings, key_of
from azaion_batch.sources.entry import Entry
from azaion_batch.storage import Place
from azaion_engine.errors import AzaionError, InvalidParameterError, PictureError, reason
from azaion_engine.model.file import ModelFile
from azaion_engine.results.detections import Detections
from azaion_engine.scenes.scene import Scene
from azaion_engine.scenes.windows import EmptyWindowError, SceneWindows, scaled
from azaion_engine.tiling.tile import Tile

SHARE_BYTES = 64 << 20
"""Bytes of the pixels of a share's windows, about: a share is read by one task and goes through Ray's object store."""
_SCENES = 2
"""Scenes that a process keeps open: the stretch of a scene is measured once for all of its shares."""
CHANGED = "the scene is not the one that the job began with: run again with --retry-failed"
"""Why a scene has no boxes whose file changed after some of its windows were read."""


class Window(NamedTuple):
    """A window of a share, as the reader tells of it.

    Attributes:
        entry: Index of the share in its chunk.
        x: Left edge in pixels of the scene.
        y: Upper edge.
        width: In pixels of the scene.
        height: Likewise.
        rows: Height in pixels that the network gets.
        columns: Width, likewise.
        empty: Whether it has no pixel of the picture, and is not run.
        stamp: Of the scene's file, see `stamp_of`.
    """

    entry: int
    x: int
    y: int
    width: int
    height: int
    rows: int
    columns: int
    empty: bool
    stamp: str

    @property
    def tile(self) -> Tile:
        """Where it lies in the scene."""
        return Tile(self.x, self.y, self.width, self.height)


@dataclass
class Read:
    """What was read of a chunk.

    Attributes:
        pictures: Encoded pictures, or the pixels of windows, or why there are none.
        about: Of windows: a JSON list of `Window`. Of a `tiled` scene: (height, width) of the network's input.
        averages: For each share what `RunningAverage.part` returns, empty if the scene needs none.
    """

    pictures: Sequence[bytes | PictureError]
    about: str | None = None
    averages: list[bytes] = field(default_factory=list)


def shares_of(entry: Entry, settings: BatchSettings, network: tuple[int, int]) -> list[Entry]:
    """Returns the shares that the windows of a scene are cut into; each has about as many pixels as `SHARE_BYTES`.

    Args:
        entry: A `tiled` one.
        settings: The job's.
        network: (height, width) of the network's input.

    Raises:
        MissingDependencyError: rasterio is not installed.
    """
    count, needed = 1, 0
    try:
        with open_scene(entry.place, settings.scenes.bands) as scene:
            windows = windows_in(scene, settings, network)
            needed = windows.total * _bytes_of_window(windows)
            count = min(windows.total, -(-needed // SHARE_BYTES))
    except (PictureError, InvalidParameterError):
        pass  # the scene's row will say why
    share = replace(entry, kind="windows", size=needed // count, shares=count)
    return [replace(share, row=number) for number in range(count)]


def _bytes_of_window(windows: SceneWindows) -> int:
    height, width = windows.resampled(next(windows.tiles()))
    return 3 * height * width


def network_of(settings: BatchSettings) -> tuple[int, int]:
    """Returns (height, width) of the network's input; raises ModelError if the model is no detector."""
    detector = settings.detector
    _, height, width = ModelFile.read(detector.model).info.resolve(1, detector.height, detector.width)
    return height, width


class WindowReader:
    """Reads the shares of scenes, and for a `tiled` scene the rows of its windows."""

    def __init__(self, out: Place, settings: BatchSettings, network: tuple[int, int]) -> None:
        """Reads nothing yet.

        Args:
            out: The job's output, where the rows of windows are.
            settings: The job's.
            network: (height, width) of the network's input.
        """
        self._out, self._settings, self._network = out, settings, network

    def read(self, chunk: Chunk) -> Read:
        """Reads a chunk of `windows`, or one with a `tiled` scene; what cannot be read is an error in it."""
        if chunk.kind == "tiled":
            return Read([self._rows(chunk)], json.dumps(self._network))
        pictures: list[bytes | PictureError] = []
        windows: list[Window] = []
        averages: list[bytes] = []
        for index, entry in enumerate(chunk.entries):
            average = b""
            try:
                stamp = stamp_of(entry.place)
                scene = _kept(entry.place, self._settings.scenes.bands, stamp)
                average = self._share(scene, stamp, index, entry, windows, pictures)
            except AzaionError:
                pass  # no rows: who merges opens it, too, and says why
            averages.append(average)
        return Read(pictures, json.dumps(windows), averages)

    def _share(
        self,
        scene: Scene,
        stamp: str,
        index: int,
        entry: Entry,
        windows: list[Window],
        pictures: list[bytes | PictureError],
    ) -> bytes:
        """Appends the windows of a share, and their pixels; returns its part of the average.

        Raises:
            PictureError: The scene has grown since it was cut into shares: this one's pixels may be too many.
            InvalidParameterError: The settings do not fit it.
        """
        all_ = windows_in(scene, self._settings, self._network)
        average = all_.average()
        first, last = (all_.total * number // entry.shares for number in (entry.row, entry.row + 1))
        if (last - first - 1) * _bytes_of_window(all_) > SHARE_BYTES:
            raise PictureError(CHANGED)
        scene.stretch()
        for tile in all_.tiles(first, last):
            picture: bytes | PictureError = b""
            empty = False
            try:
                picture = all_.read(tile, average).tobytes()
            except EmptyWindowError:
                empty = True
            except PictureError as error:
                picture = error
            pictures.append(picture)
            size = all_.resampled(tile)
            windows.append(Window(index, tile.x, tile.y, tile.width, tile.height, *size, empty, stamp))
        return b"" if average is None else average.part()

    def _rows(self, chunk: Chunk) -> bytes | PictureError:
        """Returns the rows of a scene's windows in Arrow's stream format, or why they cannot be read."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        [entry] = chunk.entries
        tables = []
        for name in chunk.windows:
            try:
                with place_of(self._out, name, WINDOWS).open() as file:
                    table = pq.read_table(file, page_checksum_verification=True)
            except (OSError, pa.ArrowException) as error:
                return PictureError(f"its part windows/{name}.parquet cannot be read: {reason(error).strip()}")
            if "scene" in table.column_names:
                own = pc.equal(table["scene"], key_of(entry.place.address))
            else:  # of an older release
                own = pc.equal(table["source"], entry.source)
            tables.append(table.filter(own))
        tables.append(pa.table({"stamp": pa.array([], pa.string())}))  # which those of older releases lack
        table = pa.concat_tables(tables, promote_options="default").sort_by([("y", "ascending"), ("x", "ascending")])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table, max_chunksize=1024)
        return bytes(sink.getvalue())


def windows_of(about: str) -> list[Window]:
    """Returns the windows that `WindowReader.read` tells of."""
    return [Window(*one) for one in json.loads(about)]


def pixels_of(window: Window, data: Any, check: Callable[[], Any]) -> NDArray[np.uint8]:
    """Returns the pixels of a window, uint8 RGB `[rows, columns, 3]`, not copied.

    Args:
        window: As the reader tells of it.
        data: Its pixels, a buffer.
        check: Raises the error that the reader met, if any.

    Raises:
        PictureError: The window is damaged.
        EmptyWindowError: It has no pixel of the picture.
    """
    check()
    if window.empty:
        raise EmptyWindowError("no data")
    return np.frombuffer(data, np.uint8).reshape(window.rows, window.columns, 3)


def to_windows(
    chunk: Chunk,
    windows: Sequence[Window],
    found: Sequence[Detections | AzaionError],
    averages: Sequence[bytes],
    to_table: Callable[[list[Answer]], Any],
) -> Any:
    """Returns a table with a row for each window: the columns of a part, and those that merging needs.

    They are `x` and `y`, `average`, `stamp` (see `stamp_of`), and `scene`, a hash of its exact path or address: two
    `source`s may be printed alike.

    Args:
        chunk: Of `windows`.
        windows: Of all of its shares.
        found: What was found in each, in pixels that the network got.
        averages: Of each share; it is in the row of the share's first window.
        to_table: Makes a table of answers.
    """
    import pyarrow as pa

    answers = []
    firsts: dict[int, bytes] = dict(enumerate(averages))
    for window, one in zip(windows, found, strict=True):
        entry = chunk.entries[window.entry]
        if isinstance(one, EmptyWindowError):
            none = np.zeros((0, 4), np.float32)
            one = Detections(none, none[:, 0], np.zeros(0, np.int64), window.width, window.height, {})
        elif isinstance(one, Detections):
            one = scaled(one, window.tile)
        answers.append(Answer(entry.source, entry.name, one))
    table = to_table(answers)
    columns = {
        **{name: pa.array([getattr(one, name) for one in windows], pa.int32()) for name in ("x", "y")},
        "average": pa.array([firsts.pop(one.entry, b"") or None for one in windows], pa.large_binary()),
        "scene": pa.array([key_of(chunk.entries[one.entry].place.address) for one in windows], pa.string()),
        "stamp": pa.array([one.stamp for one in windows], pa.string()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def windows_in(scene: Scene, settings: BatchSettings, network: tuple[int, int]) -> SceneWindows:
    """Returns the windows of an open scene; raises InvalidParameterError if the settings do not fit it."""
    options = settings.scenes.options(settings.detector.tiles)
    return SceneWindows(scene, options, network, settings.detector.max_picture_pixels)


def open_scene(place: Place, bands: tuple[int, ...] | None) -> Scene:
    """Opens a scene on a disk or in a bucket.

    Raises:
        PictureError: It cannot be read.
        InvalidParameterError: It has no such bands.
        MissingDependencyError: rasterio is not installed.
    """
    if place.is_local:
        return Scene.open(place.path, bands)
    return Scene.open_object(place.path, place.stream, bands)


def stamp_of(place: Place) -> str:
    """Returns size and time of the last change of a scene's file, as a text: windows of one stamp are of one file.

    Raises:
        PictureError: They cannot be looked up.
    """
    try:
        size, changed_ns = place.stamp()
    except OSError as error:
        raise PictureError(f"cannot be read: {reason(error)}") from error
    return f"{size} {changed_ns}"


@lru_cache(_SCENES)
def _kept(place: Place, bands: tuple[int, ...] | None, stamp: str) -> Scene:
    """Returns an open scene, which the process keeps for the next shares while its stamp is the same."""
    atexit.register(_kept.cache_clear)  # GDAL cannot close an object's file when Python has ended
    return open_scene(place, bands)
