"""HttpProtocol: uvicorn's HTTP/1.1 server with limits of time, which also reads the body behind an ignored offer.

uvicorn waits without end for the head of a connection's first request, for the rest of any head, and for the rest of a
body that nobody reads. Here such a connection ends.

Java's HttpClient and `curl --http2` send `Connection: Upgrade` and `Upgrade: h2c` with their first request. A server
may ignore the offer and answer in HTTP/1.1 (RFC 9110, 7.8). But httptools takes all bytes behind the head of such a
request for the other protocol, and uvicorn's own class answers as if there were no body.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import cast

import httptools
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FRAMING = (b"content-length", b"transfer-encoding", b"connection")
"""Headers that say where a body ends, and whether another request follows."""

HEAD_S = 10.0
"""Seconds within which the head of a request must arrive: the first one's from the connection on, any other one's from
its first byte on."""

MOST_HEAD_BYTES = 65_536
"""Bytes of a request's line and headers; usual servers take 8 to 64 KiB, HAProxy as many as its buffer holds."""

REST_S = 30.0
"""Seconds for which the rest of a body is read and dropped when its request was answered: so its sender, who may not
look before all is sent, gets the answer and no reset."""


class HttpProtocol(HttpToolsProtocol):
    """Answers a request that offers another protocol as if it offered none; WebSocket's offer is uvicorn's matter."""

    _replays = False
    """Whether the parser reads the framing of a request whose head was parsed already."""

    _awaits_head = True
    """Whether the next byte belongs to a head, not to a body."""

    _head_bytes = 0
    """Bytes that arrived while a head was awaited."""

    _ends = False
    """Whether the connection is closed at the end of the body."""

    _limit: asyncio.TimerHandle | None = None
    """Ends the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins a connection."""
        super().connection_made(transport)
        self._limit = self.loop.call_later(HEAD_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends it."""
        self._unset_limit()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what has arrived."""
        if self._awaits_head:
            self._head_bytes += len(data)
        self._receive(data)
        if self._awaits_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_large_head()
        # After a whole request there is nothing to limit: while it is answered, and then by uvicorn's keep-alive.
        answered = self.cycle is None or self.cycle.response_complete
        if self._awaits_head and answered and self._limit is None and self.timeout_keep_alive_task is None:
            self._limit = self.loop.call_later(HEAD_S, self._head_is_late)

    def on_response_complete(self) -> None:
        """Goes on to the next request."""
        super().on_response_complete()
        if not self._awaits_head and not self.transport.is_closing():
            self._unset_limit()
            self._limit = self.loop.call_later(REST_S, self.transport.close)

    def end_after_body(self) -> None:
        """Closes the connection, but not before its body is read: else a reset could overtake the answer."""
        if self._awaits_head or not self.transport.can_write_eof():
            self.transport.close()
        elif not self._ends and not self.transport.is_closing():
            self._ends = True
            self.transport.write_eof()

    def _head_is_late(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None and self.headers is None:  # not a byte of a request: nobody waits for an answer
            self.transport.close()
            return
        self._refuse_head(408, "head_too_slow", f"the head of the request did not arrive within {HEAD_S:g} s")

    def _refuse_large_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse_head(431, "head_too_large", f"the head of a request has more than {MOST_HEAD_BYTES} bytes")
        else:  # the answer before it is not complete, so nothing can be written
            self.transport.close()

    def _refuse_head(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": {"code": code, "message": message, "status": status}}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        head += f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _unset_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

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

    def on_headers_complete(self) -> None:
        """Starts to answer."""
        if not self._replays:
            self._awaits_head, self._head_bytes = False, 0
            self._unset_limit()
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES:
                self._refuse_large_head()
                raise ValueError("the head is too large")  # ends the parsing
            super().on_headers_complete()
            if not self.parser.should_keep_alive() and self.cycle is not None:
                self.cycle.transport = cast("asyncio.Transport", _LastAnswer(self))

    def on_message_complete(self) -> None:
        """Ends the body; a parser that stops at an offer calls it before the body."""
        if self._replays or not self.parser.should_upgrade():
            self._awaits_head, self._head_bytes = True, 0
            self._unset_limit()
            super().on_message_complete()
            if self._ends:
                self.transport.close()


class _LastAnswer:
    """The transport that the last answer of a connection is written to."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.end_after_body()


def _without_upgrade(name: bytes, value: bytes) -> bytes:
    if name != b"connection":
        return value
    return b", ".join(token for part in value.split(b",") if (token := part.strip()).lower() != b"upgrade")


def install() -> None:
    """Makes `HttpProtocol` the protocol of the HTTP servers that this process starts from now on."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{HttpProtocol.__name__}"
