"""Wire format between an engine's host and its clients: pickled messages over a Unix socket.

A message is a head (number of parts, bytes that follow), the size of each part, the pickle, and its large buffers.

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

_KEPT_BYTES = 16 * 2**20
"""Maximum size of a message whose memory is kept for the next message of the connection."""

_BUFFER_BYTES = 2**20
"""Size asked of the kernel for a socket's buffer, which limits it: a message should need few system calls."""

_HEAD = struct.Struct("<QQ")

VERSION = 5
"""Part of an engine's key: raise it when the classes in messages change, so that no client joins an older host."""


def prepare(connection: socket.socket) -> None:
    """Sets the options of a socket that carries messages."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)


def exchange(connection: socket.socket, message: Any) -> Any:
    """Sends a message on a client's connection, waits for the answer and returns it.

    Raises:
        EOFError: The other end is gone.
        OSError: Likewise, or the socket's timeout passed.
    """
    send(connection, pack(message))
    return Inbox(connection).receive()


def pack(message: Any) -> list[memoryview]:
    """Returns the parts of a message, to be sent in this order; large JPEGs and arrays inside are not copied."""
    apart: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART_BYTES:
            return True
        apart.append(view)
        return False

    body = pickle.dumps(message, 5, buffer_callback=keep_inside)
    sizes = struct.pack(f"<{len(apart) + 1}Q", len(body), *(view.nbytes for view in apart))
    total = len(sizes) + len(body) + sum(view.nbytes for view in apart)
    return [memoryview(_HEAD.pack(len(apart) + 1, total) + sizes + body), *apart]


def send(connection: socket.socket, parts: list[memoryview], wait: bool = True) -> list[memoryview]:
    """Sends the parts of a message.

    Args:
        connection: A blocking socket.
        parts: From `pack`.
        wait: Whether to wait while the socket's buffer is full.

    Returns:
        What is left to send; empty if `wait` is set.

    Raises:
        OSError: The other end is gone.
    """
    while parts:
        try:
            sent = connection.sendmsg(parts[:64], (), 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return parts
        done = 0
        while done < len(parts) and sent >= parts[done].nbytes:
            sent -= parts[done].nbytes
            done += 1
        parts = parts[done:]
        if sent:
            parts[0] = parts[0][sent:]
    return []


class Inbox:
    """Receives messages from one connection; used by one thread at a time.

    JPEGs and large arrays of a message lie in the inbox's memory: they are valid until the next message begins. A
    client sends it only after the answer to this one.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Takes a blocking socket, which the caller closes."""
        self._connection = connection
        self._memory = bytearray()
        self._head = bytearray(_HEAD.size)
        self._parts = 0
        self._message = self._left = memoryview(self._head)

    def receive(self) -> Any:
        """Waits for one message and returns it.

        Raises:
            EOFError: The other end is gone.
            OSError: Likewise, or the socket's timeout passed.
        """
        while not self._filled(socket.MSG_WAITALL):
            pass
        return self._unpack()

    def poll(self) -> Any:
        """Reads what has arrived; returns a message if it is complete, else None.

        Raises:
            EOFError: The other end is gone.
            OSError: Likewise.
        """
        try:
            while not self._filled(socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return None
        return self._unpack()

    def _filled(self, flags: int) -> bool:
        """Reads once; returns whether the message is complete."""
        got = self._connection.recv_into(self._left, 0, flags)
        if not got:
            raise EOFError("the other end closed the connection")
        self._left = self._left[got:]
        if self._left.nbytes:
            return False
        if self._parts:
            return True
        self._parts, total = _HEAD.unpack(self._head)
        if total > len(self._memory):
            self._memory = bytearray(total)
        self._message = self._left = memoryview(self._memory)[:total]
        return False

    def _unpack(self) -> Any:
        message, parts, at = self._message, [], self._parts * 8
        for size in struct.unpack_from(f"<{self._parts}Q", message):
            parts.append(message[at : at + size])
            at += size
        self._parts = 0
        self._message = self._left = memoryview(self._head)
        if len(self._memory) > _KEPT_BYTES:
            self._memory = bytearray()
        return pickle.loads(parts[0], buffers=parts[1:])


def to_send(picture: LoadablePicture) -> LoadablePicture:
    """Returns the picture in a form that lets `pack` leave its JPEG outside the pickle."""
    if not isinstance(picture, JpegPicture):
        return picture
    return replace(picture, jpeg=pickle.PickleBuffer(picture.jpeg))  # type: ignore[arg-type]
