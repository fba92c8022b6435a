"""A camera for tests that needs no server: a transport stream over TCP."""

from __future__ import annotations

import socket
import time
from threading import Thread

FRAMES = 40
"""Frames of the stream that a camera is given; each is sent after a hundredth of a second."""


class Camera:
    """Sends a transport stream to each connection, in a tenth of real time, and closes it."""

    def __init__(self, stream: bytes) -> None:
        self._stream = stream
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connections = 0
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            step = -(-len(self._stream) // FRAMES)
            with connection:
                try:
                    for begin in range(0, len(self._stream), step):
                        connection.sendall(self._stream[begin : begin + step])
                        time.sleep(0.01)
                except OSError:
                    continue
