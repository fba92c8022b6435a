"""Client: closed-loop HTTP/1.1 clients on keep-alive connections; each asks again as soon as it is answered.

Their own code, because the generator shares the cores with the service that it measures: a request of 445 KB costs
0.1 ms of a core here, 0.3 ms with aiohttp and 2 ms and more with httpx, which answers fewer requests the more clients
there are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from azaion_cli.tuning.answers import Answers

TIMEOUT_S = 60.0
PAUSE_S = 0.1
"""Pause of a client after a failure, seconds: a refusing server is not to be flooded."""


@dataclass(frozen=True)
class Request:
    """One HTTP POST, the same for every client.

    Attributes:
        host: Address of the server.
        port: TCP port.
        path: Path of the URL.
        body: Body of the request.
        headers: Headers other than Host and Content-Length.
    """

    host: str
    port: int
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Returns the request as it goes over the connection."""
        headers = {"Host": f"{self.host}:{self.port}", "Content-Length": str(len(self.body)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


@dataclass
class Tally:
    """What the clients of one process saw.

    Attributes:
        right: Begin and end of each right answer, monotonic seconds.
        errors: Failures of each kind that ended after the warm-up.
        first_wrong: What was wrong with the first wrong answer; empty without.
    """

    right: list[tuple[float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    first_wrong: str = ""


class RequestFailedError(Exception):
    """A request without a whole answer; the text is its kind."""


async def run_clients(request: Request, answers: Answers, clients: int, begin: float, end: float) -> Tally:
    """Runs closed-loop clients from now on and returns what they saw.

    Args:
        request: Request of every client.
        answers: Checks each answer.
        clients: Number of clients, each with a connection of its own.
        begin: From when on failures count, monotonic seconds.
        end: When no client asks any more, monotonic seconds; the last answers are awaited.
    """
    tally, encoded = Tally(), request.encode()

    async def client() -> None:
        connection: Connection | None = None
        while (asked := time.monotonic()) < end:
            try:
                if connection is None or connection.is_closed:
                    connection = await Connection.open(request.host, request.port)
                status, body = await connection.ask(encoded)
                if status != 200:
                    raise RequestFailedError(f"status {status}")
                fault = answers.fault(body)
                if fault:
                    tally.first_wrong = tally.first_wrong or fault
                    raise RequestFailedError("wrong answer")
            except RequestFailedError as error:
                if time.monotonic() >= begin:
                    tally.errors[str(error)] += 1
                await asyncio.sleep(PAUSE_S)
            else:
                tally.right.append((asked, time.monotonic()))
        if connection:
            connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return tally


class Connection(asyncio.Protocol):
    """A connection to the server, with one request at a time."""

    def __init__(self) -> None:
        self.is_closed = False
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._body_at = 0  # 0: the head of the answer is not complete yet
        self._end = 0
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Connects.

        Raises:
            RequestFailedError: The server does not accept.
        """
        try:
            _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        except OSError as error:
            raise RequestFailedError("connection refused") from error
        return connection

    async def ask(self, encoded: bytes) -> tuple[int, bytes]:
        """Sends a request and returns status and body of its answer.

        Raises:
            RequestFailedError: The connection was closed, the answer came late or was no HTTP.
        """
        self._received.clear()
        self._body_at = 0
        self._answer = self._loop.create_future()
        timer = self._loop.call_later(TIMEOUT_S, self._fail, "timeout")
        self._transport.write(encoded)
        try:
            return await self._answer
        finally:
            timer.cancel()

    def close(self) -> None:
        """Closes the connection."""
        self.is_closed = True
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        """Collects an answer until it is whole."""
        self._received += data
        if not self._body_at:
            self._read_head()
        if self._body_at and len(self._received) >= self._end and self._answer and not self._answer.done():
            body = bytes(self._received[self._body_at : self._end])
            self._answer.set_result((int(self._received[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        """Fails the request that waits."""
        self._fail("connection closed")

    def _read_head(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        _, named, rest = head.partition(b"\r\ncontent-length:")
        length = rest.partition(b"\r\n")[0].strip()
        if not (head.startswith(b"http/1.1 ") and head[9:12].isdigit() and named and length.isdigit()):
            self._fail("malformed answer")
            return
        self._body_at = end + 4
        self._end = self._body_at + int(length)
        if b"\r\nconnection: close" in head:
            self.is_closed = True

    def _fail(self, kind: str) -> None:
        self.close()
        if self._answer and not self._answer.done():
            self._answer.set_exception(RequestFailedError(kind))
