"""Wire format between an engine's host and its clients: pickled messages over a Unix socket.

A message is a head (number of parts, bytes that follow, bytes in the connection's window), the size of each part, the
pickle, and its large buffers, unless these are in the window.

Pickle is safe here: both ends belong to one user and one version of this package, and only this user may enter the
socket's folder.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from azaion_engine.engines.shared.window import Window, room, seen
from azaion_engine.pictures.prepared import JpegPicture, LoadablePicture

_APART_BYTES = 16 * 1024
"""Minimum size of a buffer that is sent outside the pickle: only the kernel copies it, without the GIL."""

_KEPT_BYTES = 16 * 2**20
"""Maximum size of a message whose memory is kept for the next message of the connection."""

_BUFFER_BYTES = 2**20
"""Size asked of the kernel for a socket's buffer, which limits it: a message should need few system calls."""

_HEAD = struct.Struct("<QQQ")

_CLOSED_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

VERSION = 6
"""Part of an engine's key: raise it when the classes in messages change, so that no client joins an older host."""


def prepare(connection: socket.socket) -> None:
    """Sets the options of a socket that carries messages."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)


def pack(message: Any, window: Window | None = None) -> list[memoryview]:
    """Returns the parts of a message, to be sent in this order; large JPEGs and arrays inside are not copied.

    Args:
        message: What can be pickled.
        window: Takes the large buffers, which then are no parts; its last message must have been answered.
    """
    apart: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _APART_BYTES:
            return True
        apart.append(view)
        return False

    body = pickle.dumps(message, 5, buffer_callback=keep_inside)
    sizes = struct.pack(f"<{len(apart) + 1}Q", len(body), *(view.nbytes for view in apart))
    follow, shown = len(sizes) + len(body), sum(view.nbytes for view in apart)
    if window is None or not window.take(apart):
        follow, shown = follow + shown, 0
    first = memoryview(_HEAD.pack(len(apart) + 1, follow, shown) + sizes + body)
    return [first] if shown else [first, *apart]


def send(
    connection: socket.socket,
    parts: list[memoryview],
    wait: bool = True,
    told: Sequence[tuple[int, int, bytes]] = (),
) -> list[memoryview]:
    """Sends the parts of a message.

    Args:
        connection: A blocking socket.
        parts: From `pack`.
        wait: Whether to wait while the socket's buffer is full.
        told: What goes beside the first bytes: `Window.to_show`.

    Returns:
        What is left to send; empty if `wait` is set.

    Raises:
        OSError: The other end is gone.
    """
    while parts:
        try:
            sent = connection.sendmsg(parts[:64], told, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return parts
        told = ()
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

    JPEGs and large arrays of a message lie in the inbox's memory, or in the window of who sent it: they are valid until
    the next message begins. A client sends it only after the answer to this one.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Takes a blocking socket, which the caller closes."""
        self._connection = connection
        self._memory = bytearray()
        self._window = memoryview(b"")
        self._head = bytearray(_HEAD.size)
        self._parts = self._shown = 0
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

    def forget(self) -> None:
        """Gives its memory up, as soon as nobody looks at it any more; nothing more is received."""
        self._memory, self._window = bytearray(), memoryview(b"")
        self._message = self._left = memoryview(self._head)

    def _filled(self, flags: int) -> bool:
        """Reads once; returns whether the message is complete."""
        got = self._connection.recv_into(self._left, 0, flags) if self._parts else self._received_head(flags)
        if not got:
            raise EOFError("the other end closed the connection")
        self._left = self._left[got:]
        if self._left.nbytes:
            return False
        if self._parts:
            return True
        self._parts, total, self._shown = _HEAD.unpack(self._head)
        if total > len(self._memory):
            self._memory = bytearray(total)
        self._message = self._left = memoryview(self._memory)[:total]
        return False

    def _received_head(self, flags: int) -> int:
        got, told, _, _ = self._connection.recvmsg_into([self._left], room(), flags | _CLOSED_ON_EXEC)
        window = seen(told)
        if window is not None:
            self._window = window
        return got

    def _unpack(self) -> Any:
        message, at = self._message, self._parts * 8
        first, *others = struct.unpack_from(f"<{self._parts}Q", message)
        parts = [message[at : at + first]]
        source, at = (self._window, 0) if self._shown else (message, at + first)
        if at + sum(others) > source.nbytes:
            raise ValueError(f"{sum(others)} bytes of buffers, of which {source.nbytes - at} are there")
        for size in others:
            parts.append(source[at : at + size])
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
