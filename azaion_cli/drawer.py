"""Drawer: pictures with their boxes drawn, encoded in threads while the engine goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from azaion_engine.errors import PictureError
from azaion_engine.files.sources import Item
from azaion_engine.files.writers import FileNames
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pipeline import Failed, Found


class Drawer:
    """Draws into JPEG files under a folder; a context manager that waits for what is still being drawn."""

    def __init__(self, folder: Path, threads: int, failed: Callable[[Item, PictureError], None]) -> None:
        """Writes nothing yet.

        Args:
            folder: Where the pictures go, laid out as the sources are.
            threads: Pictures drawn at a time.
            failed: Called, from the caller's own thread, for a picture that no JPEG can hold.
        """
        self._names = FileNames(folder, ".jpg")
        self._threads = threads
        self._failed = failed
        self._pool = ThreadPoolExecutor(threads, "draw")
        self._running: deque[Future[Failed | None]] = deque()

    def draw(self, found: Found) -> None:
        """Draws one picture some time soon; waits when too many are on their way.

        Raises:
            OSError: An earlier picture could not be written.
        """
        self._running.append(self._pool.submit(_draw, found, self._names.path_for(found.item)))
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

    def _settle(self) -> None:
        if failed := self._running.popleft().result():
            self._failed(failed.item, failed.error)


def _draw(found: Found, path: Path) -> Failed | None:
    assert found.pixels is not None
    try:
        path.write_bytes(encode_jpeg(found.detections.draw(found.pixels)))
    except PictureError as error:
        return Failed(found.item, error)
    return None
