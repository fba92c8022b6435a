"""HostLink: the connections of one client to one host process, and whether that host is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.line import Line, greet
from azaion_engine.errors import AzaionError, EngineClosedError, GpuLostError
from azaion_engine.pictures.prepared import HeldPicture, JpegPicture

logger = logging.getLogger(__name__)


class HostLink:
    """Connections to one host; thread-safe.

    A lost host stays lost: the next one gets a link of its own.

    Attributes:
        card: What the host says of its engine.
        lost: Why the host is lost; empty while it is not.
    """

    def __init__(self, path: Path, on_lost: Callable[[], object]) -> None:
        """Connects to a running host.

        Args:
            path: The host's Unix socket.
            on_lost: Called each time that `lost` is set, on the thread that finds it out.

        Raises:
            OSError: No host listens there.
            GpuLostError: The host has lost its GPU.
        """
        self.lost = ""
        self._path = path
        self._on_lost = on_lost
        self._guard = threading.Lock()
        self._free: list[Line] = []
        self._holding: set[Line] = set()
        self._ended = self._closed = False
        # Separate connection for health checks, so that they never wait behind a batch.
        self._control, self.card = greet(path)

    def call(self, method: str, *arguments: Any) -> Any:
        """Calls the host on a connection that no other thread uses meanwhile, and returns its answer.

        Raises:
            EngineClosedError: The link was closed.
            GpuLostError: The host is lost.
            AzaionError: The host's own error.
        """
        connection = self._take()
        try:
            return self._exchange(connection, method, *arguments)
        finally:
            self._keep(connection)

    def check_health(self) -> None:
        """Asks the host whether its engine can run; one thread calls it.

        Raises:
            AzaionError: As `call`.
        """
        self._exchange(self._control, "check_health")

    def hold(self, picture: JpegPicture) -> HeldPicture | None:
        """Lets the host hold a picture as long as a connection is open for it; returns None if it does not.

        Raises:
            AzaionError: As `call`.
        """
        connection = self._take()
        number: int | None = None
        try:
            number = self._exchange(connection, "hold", engine_wire.to_send(picture))
        finally:
            if number is None:
                self._keep(connection)
        if number is None:
            return None
        with self._guard:
            self._holding.add(connection)
        return HeldPicture(number, partial(self._release_held, connection))

    def end(self) -> None:
        """Closes every connection that no call uses, as another host has taken over; calls close their own."""
        with self._guard:
            self._ended = True
            connections, self._free = [self._control, *self._free, *self._holding], []
            self._holding.clear()
        for connection in connections:
            connection.close()

    def close(self) -> None:
        """Ends the link because its engine is closed."""
        self._closed = True
        self.end()

    def _release_held(self, connection: Line) -> None:
        with self._guard:
            if connection not in self._holding:  # released already
                return
            self._holding.remove(connection)
        try:
            self._exchange(connection, "release")
        except AzaionError as error:  # with the host the picture is gone, too
            logger.debug("a picture in tiles is not released: %s", error)
        finally:
            self._keep(connection)

    def _take(self) -> Line:
        if self._closed:
            raise EngineClosedError(f"{self.card.name}: the engine is closed")
        with self._guard:
            lost = self.lost
            connection = self._free.pop() if self._free and not lost else None
        if lost:
            raise GpuLostError(lost)
        try:
            return connection or Line(self._path)
        except OSError as gone:
            raise self._gone(gone) from gone

    def _keep(self, connection: Line) -> None:
        with self._guard:
            if not self._ended and not connection.is_closed:
                self._free.append(connection)
                return
        connection.close()

    def _exchange(self, connection: Line, method: str, *arguments: Any) -> Any:
        try:
            answer, error = connection.exchange((method, arguments))
        except (EOFError, OSError) as gone:
            connection.close()
            raise self._gone(gone) from gone
        except BaseException:  # a late answer must not be read as the next call's
            connection.close()
            raise
        if isinstance(error, GpuLostError):
            self._lose(str(error))
        if error is not None:
            raise error
        return answer

    def _gone(self, gone: Exception) -> GpuLostError:
        if self._closed:
            return GpuLostError(f"{self._path.name}: the engine is closed")
        told = f"the process that runs the engine is gone or silent: {gone}"
        self._lose(told)
        return GpuLostError(told)

    def _lose(self, why: str) -> None:
        self.lost = why
        self._on_lost()
