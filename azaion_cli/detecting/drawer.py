"""Drawer: draws boxes into pictures and encodes them, in threads while the engine runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from azaion_engine.errors import PictureError
from azaion_engine.files.safe_output import SafeOutput
from azaion_engine.files.sources import Item
from azaion_engine.files.writers import FileNames
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.results.detections import Detections

DRAWN_SUFFIX = ".jpg"


class Drawer:
    """Draws into JPEG files under a folder; as a context manager, waits at its end for pending pictures."""

    def __init__(
        self, folder: Path, output: SafeOutput, threads: int, failed: Callable[[Item, PictureError], None]
    ) -> None:
        """Creates the thread pool; writes nothing yet.

        Args:
            folder: Output folder, laid out as the sources are.
            output: Writes the files.
            threads: Number of drawing threads.
            failed: Called, in the caller's thread, for a picture that JPEG cannot encode.
        """
        self._names = FileNames(folder, DRAWN_SUFFIX)
        self._output = output
        self._threads = threads
        self._failed = failed
        self._pool = ThreadPoolExecutor(threads, "draw")
        self._running: deque[tuple[Item, Path, Future[bytes | PictureError]]] = deque()

    def draw(self, item: Item, pixels: NDArray[np.uint8], found: Detections) -> None:
        """Queues one picture; waits if more than twice `threads` are pending.

        Raises:
            InvalidParameterError: The file of an earlier picture exists by now.
            OSError: An earlier picture could not be written.
        """
        drawing = self._pool.submit(_draw, pixels, found)
        self._running.append((item, self._names.path_for(item), drawing))
        if len(self._running) > 2 * self._threads:
            self._settle()

    def __enter__(self) -> Drawer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        if error is None:
            while self._running:
                self._settle()
            self._output.settle()

    def _settle(self) -> None:
        item, path, drawing = self._running.popleft()
        drawn = drawing.result()
        if isinstance(drawn, PictureError):
            self._failed(item, drawn)
        else:
            self._output.write_soon(path, drawn)


def _draw(pixels: NDArray[np.uint8], found: Detections) -> bytes | PictureError:
    try:
        return encode_jpeg(found.draw(pixels))
    except PictureError as error:
        return error
