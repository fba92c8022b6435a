"""IgnoredOffer: the bodies and the requests behind an offer of another protocol."""

from __future__ import annotations

from tests.deployments.frontends.http_server.conftest import OFFER, answers, post


def test_the_body_behind_an_offer_is_read(port: int) -> None:
    assert answers(port, post(b"/a", b"picture")) == [b"POST /a picture"]


def test_a_chunked_body_behind_an_offer_is_read(port: int) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n\r\n"
    assert answers(port, head, b"3\r\npic\r\n", b"4\r\nture\r\n0\r\n\r\n") == [b"POST /a picture"]


def test_pieces_of_one_byte_make_the_same_request(port: int) -> None:
    whole = post(b"/a", b"picture")
    assert answers(port, *(whole[i : i + 1] for i in range(len(whole)))) == [b"POST /a picture"]


def test_the_connection_goes_on_behind_an_offer(port: int) -> None:
    get = b"GET /c HTTP/1.1\r\nHost: a\r\n" + OFFER + b"\r\n"
    requests = (post(b"/a", b"1"), post(b"/b", b"2", b""), get, post(b"/d", b"3"))
    expected = [b"POST /a 1", b"POST /b 2", b"GET /c ", b"POST /d 3"]
    assert answers(port, b"".join(requests), count=4) == expected
    assert answers(port, *requests, count=4) == expected


def test_a_large_body_behind_an_offer_arrives_whole(port: int) -> None:
    body = bytes(range(256)) * 20_000
    assert answers(port, post(b"/a", body)) == [b"POST /a " + body]
