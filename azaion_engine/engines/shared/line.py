"""Line: one connection of a client to its host, and the first question on it: what engine it is."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from azaion_engine.engines.shared import wire
from azaion_engine.engines.shared.card import EngineCard
from azaion_engine.engines.shared.window import Window

HEALTH_S = 20.0
"""Health-check timeout, seconds."""


class Line:
    """Sends messages, each after the answer to the one before; used by one thread at a time."""

    def __init__(self, path: Path, timeout_s: float | None = None) -> None:
        """Connects to a host.

        Args:
            path: The host's Unix socket.
            timeout_s: Seconds that a call may take; None: any time.

        Raises:
            OSError: No host listens there.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._window = Window()
        try:
            wire.prepare(self._socket)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.settimeout(timeout_s)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def exchange(self, message: Any) -> Any:
        """Sends a message, waits for the answer and returns it.

        Raises:
            EOFError: The other end is gone.
            OSError: Likewise, or the timeout passed.
        """
        wire.send(self._socket, wire.pack(message, self._window), told=self._window.to_show())
        return wire.Inbox(self._socket).receive()

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()
        self._window.close()


def greet(path: Path) -> tuple[Line, EngineCard]:
    """Connects to a host for health checks, and asks what its engine is.

    Raises:
        OSError: No host listens there, or it ended or stayed silent.
        GpuLostError: The host has lost its GPU.
    """
    control = Line(path, HEALTH_S)
    try:
        card, error = control.exchange(("card", ()))
        if error is not None:
            raise error
    except EOFError as gone:
        control.close()
        raise ConnectionResetError(f"the process that runs the engine ended: {gone}") from gone
    except BaseException:
        control.close()
        raise
    return control, card
