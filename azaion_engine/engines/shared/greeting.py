"""Greeting: connects to a host, and asks it for the card of its engine."""

from __future__ import annotations

import socket
from pathlib import Path

from azaion_engine.engines.shared import wire as engine_wire
from azaion_engine.engines.shared.card import EngineCard

HEALTH_S = 20.0
"""Health-check timeout, seconds."""


def connect(path: Path) -> socket.socket:
    """Connects to a host; raises OSError if none listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        engine_wire.prepare(connection)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def greet(path: Path) -> tuple[socket.socket, EngineCard]:
    """Connects to a host for health checks, and asks what its engine is.

    Raises:
        OSError: No host listens there, or it ended or stayed silent.
        GpuLostError: The host has lost its GPU.
    """
    control = connect(path)
    control.settimeout(HEALTH_S)
    try:
        card, error = engine_wire.exchange(control, ("card", ()))
        if error is not None:
            raise error
    except EOFError as gone:
        control.close()
        raise ConnectionResetError(f"the process that runs the engine ended: {gone}") from gone
    except BaseException:
        control.close()
        raise
    return control, card
