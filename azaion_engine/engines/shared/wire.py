"""Wire format between an engine's host and its clients: pickled messages over a Unix socket.

Pickle is safe here: both ends belong to one user and one version of this package, and only this user may enter the
socket's folder.
"""

from __future__ import annotations

import pickle
import socket
import struct
from dataclasses import replace
from typing import Any

from azaion_engine.pictures.prepared import JpegPicture, LoadablePicture

_APART_BYTES = 16 * 1024
"""Minimum size of a buffer that is sent outside the pickle: only the kernel copies it, without the GIL."""

_COUNT = struct.Struct("<Q")

VERSION = 2
"""Part of an engine's key: raise it when the classes in messages change, so that no client joins an older host."""


def send(connection: socket.socket, message: Any) -> None:
    """Sends one message; large JPEGs and arrays inside are not copied in this process.

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
        OSError: Likewise, or the socket's timeout passed.
    """
    [count] = _COUNT.unpack(_read(connection, _COUNT.size))
    sizes = struct.unpack(f"<{count}Q", _read(connection, count * _COUNT.size))
    body, *apart = [_read(connection, size) for size in sizes]
    return pickle.loads(body, buffers=apart)


def to_send(picture: LoadablePicture) -> LoadablePicture:
    """Returns the picture in a form that lets `send` transmit its JPEG outside the pickle."""
    if not isinstance(picture, JpegPicture):
        return picture
    return replace(picture, jpeg=pickle.PickleBuffer(picture.jpeg))  # type: ignore[arg-type]


def _read(connection: socket.socket, size: int) -> bytes:
    # Usually one call receives everything, straight into the bytes object.
    data = connection.recv(size, socket.MSG_WAITALL)
    if len(data) == size:
        return data
    parts = [data]
    while (missing := size - sum(map(len, parts))) and parts[-1]:
        parts.append(connection.recv(missing, socket.MSG_WAITALL))
    if missing:
        raise EOFError("the other end closed the connection")
    return b"".join(parts)
