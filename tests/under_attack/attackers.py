"""Attackers: each holds a bounded number of connections, and costs itself little, so that the service is measured.

`python -m tests.under_attack.attackers NAME PORT SECONDS` attacks a service on 127.0.0.1, from the address 127.0.0.2.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from tests.hostile import attacks
from tests.hostile.requests import ATTACKS as REQUESTS

MANY = 300
"""Connections that do nothing but stay: more than the replicas have places for bodies."""
FROM = ("127.0.0.2", 0)
MODEL = "chaos"

Seen = Counter[str]


class Attacker:
    """One attack on one port.

    Attributes:
        seen: What the service answered, by status, `cut`, or `refused` (no connection).
    """

    def __init__(self, port: int, seconds: float) -> None:
        """Prepares it; the time runs from now on."""
        self._port = port
        self._end = time.monotonic() + seconds
        self.seen: Seen = Counter()

    @property
    def goes_on(self) -> bool:
        """Whether the time is not over."""
        return time.monotonic() < self._end

    async def many(self, one: Callable[[asyncio.StreamWriter], Awaitable[None]], count: int = MANY) -> None:
        """Keeps connections busy with what sends its bytes; each is opened again a second after it was ended."""

        async def hold(index: int) -> None:
            await asyncio.sleep(index / count)
            while self.goes_on:
                await self._one(one)
                await asyncio.sleep(1)

        await asyncio.gather(*(hold(index) for index in range(count)))

    async def ask(self, request: bytes, each_s: float, clients: int = 1) -> None:
        """Sends a request again and again, at most once in a time."""

        async def send(writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                writer.write(request)
                await writer.drain()
            await asyncio.sleep(60)

        async def client(index: int) -> None:
            await asyncio.sleep(each_s * index / clients)
            while self.goes_on:
                begun = time.monotonic()
                await self._one(send)
                await asyncio.sleep(max(0.0, each_s - (time.monotonic() - begun)))

        await asyncio.gather(*(client(index) for index in range(clients)))

    async def _one(self, send: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> None:
        """Sends on a new connection until it is answered or the time is over."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=FROM)
        except OSError:
            self.seen["refused"] += 1
            return
        sending = asyncio.ensure_future(send(writer))
        try:
            answer = await asyncio.wait_for(reader.read(65536), max(0.1, self._end - time.monotonic()))
            self.seen[answer[9:12].decode(errors="replace") if answer else "closed"] += 1
        except asyncio.TimeoutError:
            self.seen["held until the end"] += 1
        except OSError:
            self.seen["cut"] += 1
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()


def head(path: str, length: int, headers: str = "") -> bytes:
    """Returns the head of a POST."""
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: {length}\r\n\r\n".encode()


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """Returns a POST."""
    return head(path, len(body), headers) + body


def dripping(start: bytes) -> Callable[[asyncio.StreamWriter], Awaitable[None]]:
    """Returns what sends a byte a second after a start."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            await asyncio.sleep(1)
            writer.write(b"a")

    return drip


async def _half_close(writer: asyncio.StreamWriter) -> None:
    writer.write(head("/detect", 100_000) + bytes(1000))
    await writer.drain()
    writer.write_eof()
    await asyncio.sleep(60)


def _gzip_bomb() -> bytes:
    bomb = REQUESTS["gzip of 60 MB of zeros as numbers"]
    return post(f"/v2/models/{MODEL}_raw/infer", bomb.body(), "Content-Encoding: gzip\r\n")


class Held(NamedTuple):
    """An attack of `MANY` connections; `send` is what each sends."""

    send: Callable[[asyncio.StreamWriter], Awaitable[None]]


class Repeated(NamedTuple):
    """An attack of one request after another.

    Attributes:
        make: Makes the request, before the attack begins.
        each_s: Seconds from one to the next, at least.
        clients: Who send them, each on its own.
    """

    make: Callable[[], bytes]
    each_s: float
    clients: int = 1


ATTACKS: dict[str, Held | Repeated] = {
    "slow bodies": Held(dripping(head("/detect", 100_000))),
    "slow bodies, /v2": Held(dripping(head(f"/v2/models/{MODEL}/infer", 100_000))),
    "slow heads": Held(dripping(b"POST /detect HTTP/1.1\r\nX-Long: ")),
    "silent connections": Held(lambda writer: asyncio.sleep(60)),
    "half-closed connections": Held(_half_close),
    "gzip bombs": Repeated(_gzip_bomb, 2),
    "PNG of profiles": Repeated(lambda: post("/detect", attacks.png_of_profiles(2**20)), 1),
    "JPEG of 100 scans": Repeated(lambda: post("/detect", attacks.jpeg_of_scans(100)), 1),
    "picture 1 pixel wide": Repeated(lambda: post("/detect", attacks.narrow("PNG")), 2),
    "wrong media types": Repeated(
        lambda: post("/detect", b"<html></html>", "Content-Type: text/html\r\n"), 0.2, clients=10
    ),
    "huge heads": Repeated(lambda: head("/detect", 0, "X-Long: " + 10**6 * "a" + "\r\n"), 0.5),
    "uploads of 90 MB": Repeated(lambda: post("/detect", bytes(90 * 10**6)), 4),
}
"""Name → what attacks."""


def main() -> None:
    """Prepares one attack, says so, runs it, and prints what it saw and its own processor time as JSON."""
    attack, port, seconds = ATTACKS[sys.argv[1]], int(sys.argv[2]), float(sys.argv[3])
    request = attack.make() if isinstance(attack, Repeated) else b""
    print("ready", flush=True)
    begun = time.process_time()

    async def run() -> Seen:
        attacker = Attacker(port, seconds)
        if isinstance(attack, Held):
            await attacker.many(attack.send)
        else:
            await attacker.ask(request, attack.each_s, attack.clients)
        return attacker.seen

    seen = asyncio.run(run())
    print(json.dumps({"seen": seen, "cpu_s": time.process_time() - begun}))


if __name__ == "__main__":
    main()
