"""HttpProtocol: slow clients and those that still send, with a real uvicorn."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack, closing, suppress

import pytest

from deployments.frontends.http_server import protocol
from tests.deployments.frontends.http_server.conftest import LARGE, OFFER, answers, begun, body_of, post


def test_a_request_knows_whether_its_body_was_here_when_it_began(port: int) -> None:
    whole = post(b"/whole", b"a" * 2 * protocol.GATHERED, b"")
    assert answers(port, post(b"/whole", b"a" * 100, b"")) == [b"POST /whole whole"]
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:50_000])
        time.sleep(0.2)  # it begins
        connection.sendall(whole[50_000:])
        assert body_of(connection.makefile("rb")) == b"POST /whole a part"


def test_what_is_no_http_is_still_refused(port: int) -> None:
    assert answers(port, b"rubbish\r\n\r\n") == [b"Invalid HTTP request received."]


@pytest.mark.parametrize("offer", [b"", OFFER], ids=["plain", "h2c"])
@pytest.mark.parametrize("size", [1, 2 * protocol.GATHERED], ids=["begins with the body", "begins before its end"])
def test_trailers_are_no_headers(port: int, size: int, offer: bytes) -> None:
    head = b"POST /headers HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: chunked\r\n\r\n" % offer
    body = b"%x\r\n%b\r\n0\r\n" % (size, b"a" * size)
    trailers = b"X-API-Key: stolen\r\nX-Request-ID: another\r\n\r\n"
    for pieces in ([head + body + trailers], [head + body, trailers]):
        [answer] = answers(port, *pieces)
        assert b"transfer-encoding" in answer
        assert b"x-api-key" not in answer
        assert b"x-request-id" not in answer


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"], ids=["goes on", "last"])
def test_a_client_that_takes_nothing_of_its_answer_is_cut(
    port: int, headers: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "UNREAD_S", 0.3)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/large", b"1", headers))
        time.sleep(1)
        taken = 0
        with suppress(ConnectionError):
            while part := connection.recv(2**20):
                taken += len(part)
    assert taken < LARGE


def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "UNREAD_S", 0.5)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/large", b"1", b"Connection: close\r\n"))
        taken, begun = 0, time.monotonic()
        while part := connection.recv(2**20):
            taken += len(part)
            time.sleep(0.05)
    assert time.monotonic() - begun > 0.5
    assert taken > LARGE


@pytest.mark.parametrize("path", [b"/headers", b"/refuse"])
@pytest.mark.parametrize("size", [1, 2 * protocol.GATHERED], ids=["begins with the body", "begins before its end"])
@pytest.mark.parametrize(
    ("start", "more"),
    [(b"0\r\na: b\r\n", b"a: b\r\n" * 3000), (b"0\r\na: ", b"b" * 20_000), (b"1;a=", b"b" * 20_000)],
    ids=["trailers", "one trailer", "an extension of a chunk"],
)
def test_what_is_around_the_parts_of_a_body_is_bounded(
    port: int, start: bytes, more: bytes, size: int, path: bytes
) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path)
        connection.sendall(b"%x\r\n%b\r\n%b" % (size, b"a" * size, start))
        with pytest.raises(ConnectionError):  # it ends while this still sends
            send_much(connection, more)


def send_much(connection: socket.socket, data: bytes) -> None:
    for _ in range(200):
        connection.sendall(data)
        time.sleep(0.001)


def seconds_until_closed(connection: socket.socket, drip: bytes = b"") -> tuple[float, bytes]:
    """Sends a byte of `drip` ten times a second until the server closes; returns how long that took and its answer."""
    begun, answer = time.monotonic(), b""
    connection.settimeout(0.1)
    while time.monotonic() - begun < 10:
        try:
            part = connection.recv(65536)
            if not part:
                return time.monotonic() - begun, answer
            answer += part
        except TimeoutError:
            connection.sendall(drip[:1])
            drip = drip[1:]
        except ConnectionError:
            return time.monotonic() - begun, answer
    raise AssertionError("not closed within 10 s")


def test_a_connection_without_a_request_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.4)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        seconds, answer = seconds_until_closed(connection)
    assert (0.3 < seconds < 5, answer) == (True, b"")


@pytest.mark.parametrize("before", [b"", post(b"/a", b"1", b"")])
def test_a_head_that_arrives_slowly_is_told_so(port: int, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.6)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        if before:
            connection.sendall(before)
            assert body_of(connection.makefile("rb", 0)) == b"POST /a 1"
        seconds, answer = seconds_until_closed(connection, b"GET /a HTTP/1.1\r\nX-Long: " + b"a" * 200)
    assert 0.5 < seconds < 5
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert json.loads(body)["error"]["code"] == "head_too_slow"


def test_empty_lines_do_not_keep_a_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.6)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/a", b"1", b""))
        assert body_of(connection.makefile("rb", 0)) == b"POST /a 1"
        seconds, _ = seconds_until_closed(connection, b"\r\n" * 100)
    assert seconds < 5


def test_a_body_is_not_limited_by_the_time_for_its_head(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.3)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        whole = post(b"/a", b"slow", b"")
        connection.sendall(whole[:-2])
        time.sleep(0.8)
        connection.sendall(whole[-2:])
        assert body_of(connection.makefile("rb", 0)) == b"POST /a slow"


def test_the_rest_of_an_answered_body_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REST_S", 0.6)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/refuse", bytes(100_000), b"")[:-50_000])
        seconds, answer = seconds_until_closed(connection, b"a" * 500)
    assert seconds < 5
    assert answer.endswith(b"large")


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
def test_a_client_that_still_sends_gets_its_refusal_and_no_reset(port: int, headers: bytes) -> None:
    body = bytes(30 * 2**20)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/refuse", body, headers))  # looks for no answer before all is sent
        stream = connection.makefile("rb")
        assert body_of(stream) == b"large"
        if headers:
            assert stream.read() == b""
        else:
            connection.sendall(post(b"/b", b"2", b""))
            assert body_of(stream) == b"POST /b 2"


@pytest.mark.parametrize("pieces", [1, 5])
@pytest.mark.parametrize("ends", [b"", b"\r\n\r\n"])
def test_a_head_that_is_too_large_is_told_so(port: int, pieces: int, ends: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/a", b"1", b""))
        stream = connection.makefile("rb")
        assert body_of(stream) == b"POST /a 1"
        head = b"GET /a HTTP/1.1\r\nX-Long: " + b"a" * 70_000 + ends
        step = len(head) // pieces + 1
        for at in range(0, len(head), step):
            connection.sendall(head[at : at + step])
        assert stream.readline() == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
        assert b"65536 bytes" in stream.read()


def test_a_large_head_behind_an_unanswered_request_ends_the_connection(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/slow", b"1", b"") + b"GET /a HTTP/1.1\r\n")
        time.sleep(0.3)
        connection.sendall(b"X-Long: " + b"a" * 70_000)
        _, answer = seconds_until_closed(connection)
    assert answer == b""


def test_large_bodies_are_no_heads(port: int) -> None:
    body = bytes(10**6)
    requests = [post(b"/a", body, b""), post(b"/b", body, OFFER), post(b"/c", body, b"")]
    assert [len(answer) for answer in answers(port, *requests, count=3)] == [len(body) + 8] * 3


def test_a_request_begins_when_its_body_is_here(port: int) -> None:
    whole = post(b"/begins", bytes(1000), b"")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:-1])
        time.sleep(0.3)
        assert "/begins" not in begun
        connection.sendall(whole[-1:])
        assert len(body_of(connection.makefile("rb"))) == len("POST /begins ") + 1000
        assert "/begins" in begun


def test_a_large_body_begins_with_a_part_of_it_and_goes_on_in_parts(port: int) -> None:
    whole = post(b"/parts", bytes(200_000), b"")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:100_000])
        time.sleep(0.3)
        assert "/parts" in begun
        for at in range(100_000, len(whole), 1000):
            connection.sendall(whole[at : at + 1000])
        assert len(body_of(connection.makefile("rb"))) == len("POST /parts ") + 200_000


@pytest.mark.parametrize(("path", "error"), [(b"/detect", dict), (b"/v2/models/a/infer", str)])
def test_a_slow_body_is_refused_before_its_request_begins(
    port: int, monkeypatch: pytest.MonkeyPatch, path: bytes, error: type
) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 0.5)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(path, b"", b"")[:-5] + b"1000\r\n\r\n")
        seconds, answer = seconds_until_closed(connection, b"a" * 500)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert 0.4 < seconds < 5
    assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert isinstance(json.loads(body)["error"], error)
    assert path.decode() not in begun


def test_a_body_at_the_minimum_rate_is_not_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 0.5)
    whole = post(b"/a", bytes(4000), b"")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        for at in range(0, len(whole), 300):  # 3,000 bytes a second
            connection.sendall(whole[at : at + 300])
            time.sleep(0.1)
        assert len(body_of(connection.makefile("rb"))) == len("POST /a ") + 4000


def test_of_too_many_slow_bodies_the_oldest_ends(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MOST_GATHERING", 2)
    with ExitStack() as stack:
        held = [stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10))) for _ in range(3)]
        for connection in held:
            connection.sendall(post(b"/a", b"1234", b"")[:-1])
            time.sleep(0.1)
        assert b" 503 " in held[0].makefile("rb").readline()
        for connection in held[1:]:
            connection.sendall(b"4")
            assert body_of(connection.makefile("rb")) == b"POST /a 1234"


@pytest.mark.parametrize(("size", "early"), [(1000, False), (100_000, True)])
def test_a_client_that_waits_for_100_is_told_to_go_on(port: int, size: int, early: bool) -> None:
    path = f"/expects-{size}"
    whole = post(path.encode(), bytes(size), b"Expect: 100-continue\r\n")
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(whole[:-size])
        stream = connection.makefile("rb")
        assert (stream.readline(), stream.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        assert (path in begun) == early, "a long body may be refused before it is sent"
        connection.sendall(whole[-size:])
        assert len(body_of(stream)) == len(f"POST {path} ") + size


def test_a_slow_body_behind_an_unanswered_request_ends_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WINDOW_S", 0.5)
    monkeypatch.setattr(protocol, "REST_S", 0.1)
    with closing(socket.create_connection(("127.0.0.1", port), 10)) as connection:
        connection.sendall(post(b"/slow", b"1", b"") + post(b"/a", b"1234", b"")[:-1])
        seconds, answer = seconds_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answer
    assert 1.4 < seconds < 6
