"""HttpProtocol: uvicorn's HTTP/1.1 server with timeouts.

uvicorn has no timeout for the head of a connection's first request, for the rest of any head, for the rest of a body
that the application does not read, and for a client that does not read its answer. A request begins only when its body,
or a good part of it, has arrived: Serve would otherwise forward each small piece of it in a call to a replica.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import cast

import uvicorn.config
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from deployments.batching.arriving import MINIMUM_RATE, WHOLE_BODY, WINDOW_S, too_slow
from deployments.errors import SlowBodyError
from deployments.frontends.http_server.answer_transport import AnswerTransport
from deployments.frontends.http_server.ignored_offer import IgnoredOffer

HEAD_S = 10.0
"""Seconds within which the head of a request must arrive: the first one's from the connection on, any other one's from
its first byte on."""

MOST_HEAD_BYTES = 65_536
"""Bytes of a request's line and headers; usual servers take 8 to 64 KiB, HAProxy as many as its buffer holds."""

GATHERED, WOKEN = 32_768, 8_192
"""Bytes of a longer body after which its request begins, and after which its reader is woken each time."""

MOST_GATHERING = 512
"""Maximum requests of this process whose body is being gathered; one more ends the oldest of them."""

REST_S = 30.0
"""Seconds for which the rest of a body is read and dropped after its request was answered: some clients read the answer
only when they have sent everything, and a reset would lose it."""

UNREAD_S = 120.0
"""Seconds within which a client must take some of an answer that waits for it, as behind HAProxy. Not much less: the
system has megabytes of an answer before it takes more, and a slow client needs that long for a part of them."""


class HttpProtocol(IgnoredOffer):
    """Ends connections that are too slow, and begins a request when its body is here."""

    _awaits_head = True
    """Whether the next byte belongs to a head, not to a body."""

    _framing_bytes = 0
    """Bytes that arrived since the last head or the last part of a body: of a head, chunk sizes or trailers."""

    _gathering: tuple[RequestResponseCycle, ASGI3Application] | None = None
    """The request that has not begun."""

    _gathered = 0
    """Bytes of its body when its rate was taken last."""

    _ends = False
    """Whether the connection is closed at the end of the body."""

    _limit: asyncio.TimerHandle | None = None
    """Ends the connection."""

    _reader_limit: asyncio.TimerHandle | None = None
    """Ends the connection of a client that takes nothing of its answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins a connection."""
        super().connection_made(transport)
        self._limit = self.loop.call_later(HEAD_S, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends it."""
        self._unset_limit()
        self._unset_reader_limit()
        self._forget_gathering()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what has arrived."""
        self._framing_bytes += len(data)
        self._receive(data)
        if self._gathering is not None and len(self._gathering[0].body) >= GATHERED:
            self._begin()
        if self._framing_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            if self._awaits_head:
                self._refuse_large_head()
            else:
                self._refuse_large_framing()
        # After a whole request there is nothing to limit: while it is answered, and then by uvicorn's keep-alive.
        answered = self.cycle is None or self.cycle.response_complete
        if self._awaits_head and answered and self._limit is None and self.timeout_keep_alive_task is None:
            self._limit = self.loop.call_later(HEAD_S, self._head_is_late)
        if self._gathering is not None and self._limit is None:
            self._gather_later()

    def on_response_complete(self) -> None:
        """Goes on to the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._gathering is not None and self._limit is None:  # the next request, which came with the answered one
            self._gather_later()
        elif not self._awaits_head and self.cycle.response_complete:
            self._unset_limit()
            self._limit = self.loop.call_later(REST_S, self.transport.close)

    def pause_writing(self) -> None:
        """Begins to wait for the client to take what was written."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Ends that."""
        self._unset_reader_limit()
        super().resume_writing()

    def _wait_for_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._reader_limit = self.loop.call_later(UNREAD_S, self._look_at_reader, left)

    def _look_at_reader(self, left_before: int) -> None:
        if self.transport.get_write_buffer_size() < left_before:
            self._wait_for_reader()
        else:
            self.transport.abort()  # `close` would wait until all is taken

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not cycle.more_body or (cycle.waiting_for_100_continue and not _is_short(cycle.scope)):
            self._start(cycle, app)
            return
        if cycle.waiting_for_100_continue:
            cycle.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._gathering = (cycle, app)

    def _begin(self) -> None:
        """Begins the request whose body was gathered."""
        if self._gathering is not None:
            cycle, app = self._gathering
            self._forget_gathering()
            self._unset_limit()
            self._start(cycle, app)

    def _start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not cycle.more_body:
            cast("dict[str, object]", cycle.scope)[WHOLE_BODY] = True
        super()._start_asgi_task(cycle, app)

    def _gather_later(self) -> None:
        assert self._gathering is not None
        if self not in _gathering and len(_gathering) >= MOST_GATHERING:
            next(iter(_gathering))._refuse_body(503, "overloaded", f"{MOST_GATHERING} bodies are arriving slowly")
        _gathering[self] = None
        self._gathered = len(self._gathering[0].body)
        self._limit = self.loop.call_later(WINDOW_S, self._take_rate)

    def _take_rate(self) -> None:
        self._limit = None
        if self._gathering is None or self.transport.is_closing():
            return
        if len(self._gathering[0].body) - self._gathered >= WINDOW_S * MINIMUM_RATE:
            self._gather_later()
        else:
            self._refuse_body(408, SlowBodyError.code, too_slow(WINDOW_S))

    def _refuse_body(self, status: int, code: str, message: str) -> None:
        """Ends a request that has not begun."""
        self._forget_gathering()
        self._unset_limit()
        if not self.transport.is_closing():
            self._refuse(status, code, message, plain=b"/v2/" in self.url)

    def _forget_gathering(self) -> None:
        self._gathering = None
        _gathering.pop(self, None)

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
        self._refuse(408, "head_too_slow", f"the head of the request did not arrive within {HEAD_S:g} s")

    def _refuse_large_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(431, "head_too_large", f"the head of a request has more than {MOST_HEAD_BYTES} bytes")
        else:  # the answer before it is not complete, so nothing can be written
            self.transport.close()

    def _refuse_large_framing(self) -> None:
        if self._gathering is not None:
            told = f"more than {MOST_HEAD_BYTES} bytes of chunk sizes or trailers without a part of the body"
            self._refuse_body(400, "bad_request", told)
        else:  # its answer may have begun
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str, plain: bool = False) -> None:
        """Answers an error instead of the application, and closes the connection.

        Args:
            status: HTTP status.
            code: Stable name.
            message: For people.
            plain: Whether the error has the inference protocol's shape, not that of `/detect`.
        """
        error = message if plain else {"code": code, "message": message, "status": status}
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        head += "retry-after: 1\r\n" if status == 503 else ""
        head += f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _unset_reader_limit(self) -> None:
        if self._reader_limit is not None:
            self._reader_limit.cancel()
            self._reader_limit = None

    def _unset_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def on_headers_complete(self) -> None:
        """Starts to answer."""
        if not self._replays:
            self._awaits_head, self._framing_bytes = False, 0
            self._unset_limit()
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES:
                self._refuse_large_head()
                raise ValueError("the head is too large")  # ends the parsing
            super().on_headers_complete()
            if self.cycle is not None:
                answer = AnswerTransport(self, self.cycle, self.end_after_body)
                self.cycle.transport = cast("asyncio.Transport", answer)
                self.cycle.on_response = answer.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receives a header of the head; drops one behind the body, a trailer.

        uvicorn would add it to the head's, as many as there are: 30 MB of them took 600 MB. And a trailer is no header:
        a proxy in front that sets or removes headers does not look at it (RFC 9110, 6.5.1).
        """
        if self._awaits_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Receives a part of the body; wakes its reader when there is enough of it, or all."""
        self._framing_bytes = 0
        if (self.parser.should_upgrade() and self._should_upgrade()) or self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        if self._gathering is None and len(self.cycle.body) >= WOKEN:
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Ends the body; a parser that stops at an offer calls it before the body."""
        if self._replays or not self.parser.should_upgrade():
            self._awaits_head, self._framing_bytes = True, 0
            self._unset_limit()
            super().on_message_complete()
            self._begin()
            if self._ends:
                self.transport.close()


_gathering: dict[HttpProtocol, None] = {}
"""The connections of this process that gather a body, the oldest first."""


def _is_short(scope: HTTPScope) -> bool:
    """Returns whether a body has few bytes; a longer one may be refused for its length before it is sent."""
    length = dict(scope["headers"]).get(b"content-length", b"")
    return len(length) < 9 and length.isdigit() and int(length) <= GATHERED


def install() -> None:
    """Makes `HttpProtocol` the protocol of the HTTP servers that this process starts from now on."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{HttpProtocol.__name__}"
