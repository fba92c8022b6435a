"""AnswerTransport: what an answer is written to."""

from __future__ import annotations

from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class AnswerTransport:
    """The transport that an answer is written to; its head leaves with the begin of its body, in one system call."""

    def __init__(self, protocol: HttpToolsProtocol, cycle: RequestResponseCycle, end: Callable[[], None]) -> None:
        """Wraps the transport of a connection.

        Args:
            protocol: The connection.
            cycle: The request and its answer.
            end: Ends the connection after its last answer.
        """
        self._protocol = protocol
        self._cycle = cycle
        self._end = end
        self._is_last = not protocol.parser.should_keep_alive()
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Writes the head of the answer, or a part of its body."""
        if self._head is None and self._cycle.response_started:  # before, 100 Continue is written
            self._head = data
        else:
            self._protocol.transport.write((self._head or b"") + data)
            self._head = b""

    def is_closing(self) -> bool:
        """Returns whether the connection is closing."""
        return self._protocol.transport.is_closing()

    def complete(self) -> None:
        """Ends the answer; the connection goes on."""
        if self._head:  # there was no body
            self.write(b"")
        self._protocol.on_response_complete()

    def close(self) -> None:
        """Ends the answer, and the connection."""
        if self._head:
            self.write(b"")
        if self._is_last:
            self._end()
        else:
            self._protocol.transport.close()
