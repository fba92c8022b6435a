"""What an engine's host and its clients say to each other over a Unix socket: one pickled message after the other.

Both ends are processes of one user and one version of this package, in a folder that only this user may enter.
"""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import replace
from typing import Any

from azaion_engine.pictures.prepared import JpegPicture, LoadablePicture

_APART_BYTES = 16 * 1024
"""Buffers from this size on travel beside the pickle: they are copied by the kernel alone, without the GIL."""

_COUNT = struct.Struct("<Q")


def send(connection: socket.socket, message: Any) -> None:
    """Sends one message; JPEGs and arrays inside are not copied in this process.

    Raises:
        OSError: The other end is gone.
    """
    apart: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART_BYTES:
            return True
        apart.append(view)
        return False

    body = pickle.dumps(message, 5, buffer_callback=keep_inside)
    sizes = [len(body), *(view.nbytes for view in apart)]
    head = struct.pack(f"<{len(sizes) + 1}Q", len(sizes), *sizes)
    parts = [memoryview(head), memoryview(body), *apart]
    while parts:
        sent = connection.sendmsg(parts[:64])
        while parts and sent >= parts[0].nbytes:
            sent -= parts.pop(0).nbytes
        if sent:
            parts[0] = parts[0][sent:]


def receive(connection: socket.socket) -> Any:
    """Waits for one message; JPEGs in it are `bytes`, arrays may be read-only.

    Raises:
        EOFError: The other end is gone.
        OSError: Likewise, or it took longer than the socket's time limit.
    """
    [count] = _COUNT.unpack(_read(connection, _COUNT.size))
    sizes = struct.unpack(f"<{count}Q", _read(connection, count * _COUNT.size))
    body, *apart = [_read(connection, size) for size in sizes]
    return pickle.loads(body, buffers=apart)


def to_send(picture: LoadablePicture) -> LoadablePicture:
    """Returns the picture such that `send` lets its JPEG travel beside the pickle."""
    if not isinstance(picture, JpegPicture):
        return picture
    return replace(picture, jpeg=pickle.PickleBuffer(picture.jpeg))  # type: ignore[arg-type]


def _read(connection: socket.socket, size: int) -> bytes:
    # As a rule all of it in one call, straight into the bytes object.
    data = connection.recv(size, socket.MSG_WAITALL)
    if len(data) == size:
        return data
    parts = [data]
    while (missing := size - sum(map(len, parts))) and parts[-1]:
        parts.append(connection.recv(missing, socket.MSG_WAITALL))
    if missing:
        raise EOFError("the other end closed the connection")
    return b"".join(parts)
