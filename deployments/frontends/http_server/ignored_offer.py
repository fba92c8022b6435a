"""IgnoredOffer: ignores the offer of another protocol, and reads the body of the request that has it.

Java's HttpClient and `curl --http2` send `Connection: Upgrade` and `Upgrade: h2c` with their first request. A server
may ignore the offer and answer in HTTP/1.1 (RFC 9110, 7.8). But httptools takes all bytes behind the head of such a
request for the other protocol, and uvicorn's own class answers as if there were no body.
"""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING = (b"content-length", b"transfer-encoding", b"connection")
"""Headers that say where a body ends, and whether another request follows."""


class IgnoredOffer(HttpToolsProtocol):
    """Answers a request that offers another protocol as if it had no offer; uvicorn handles the offer of WebSocket."""

    _replays = False
    """Whether the parser reads the framing of a request whose head was parsed already."""

    def _receive(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            while data:
                data = self._parse(data)
        except httptools.HttpParserError:
            if not self.transport.is_closing():  # else a head was too large
                self.send_400_response("Invalid HTTP request received.")

    def _parse(self, data: bytes) -> bytes:
        """Parses; returns the bytes behind the head of a request with an ignored offer, which are still to parse."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return b""
            self._forget_offer()
            return data[stop.args[0] :]
        return b""

    def _forget_offer(self) -> None:
        """Replaces the parser by one that has read the same head without the offer."""
        kept = [name + b": " + _without_upgrade(name, value) for name, value in self.headers if name in _FRAMING]
        self.parser = httptools.HttpRequestParser(self)
        self._replays = True
        try:
            self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *kept, b"", b""]))
        finally:
            self._replays = False

    def on_message_begin(self) -> None:
        """Begins a request."""
        if not self._replays:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Receives the address."""
        if not self._replays:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receives a header."""
        if not self._replays:
            super().on_header(name, value)


def _without_upgrade(name: bytes, value: bytes) -> bytes:
    if name != b"connection":
        return value
    return b", ".join(token for part in value.split(b",") if (token := part.strip()).lower() != b"upgrade")
