from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest import mock

import httpx
import pytest
from fastapi import Request
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from azaion_engine.errors import PictureTooLargeError
from deployments.batching import arriving
from deployments.batching.arriving import WHOLE_BODY
from deployments.frontends.body import arriving as arriving_body
from deployments.frontends.body import client_of, whole_body
from tests.deployments.frontends import documented
from tests.deployments.in_process import client, replica
from tests.stand_in import grey_picture, open_slow_stand_in


def test_a_client_whose_call_serve_has_cancelled_has_left() -> None:
    messages = iter([{"type": "http.request", "body": b"half", "more_body": True}])

    async def receive() -> dict[str, object]:
        for message in messages:
            return message
        raise TaskCancelledError

    with pytest.raises(ClientDisconnect):
        asyncio.run(whole_body(Request({"type": "http", "headers": []}, receive), 100))


async def post_at_once(bodies: list[bytes]) -> list[int]:
    async with client() as asked:
        answers = await asyncio.gather(*(asked.post("/detect", content=body) for body in bodies))
    return [answer.status_code for answer in answers]


def test_bodies_beyond_the_memory_of_all_are_refused_and_are_no_longer_counted_afterwards() -> None:
    large = grey_picture(5, size=32) + bytes(9 * 2**20)  # a PNG, and bytes behind its end
    with replica(open_slow_stand_in, max_decode_bytes=2**24) as held:
        statuses = asyncio.run(post_at_once([large] * 4))
        assert sorted(statuses) == [200, 503, 503, 503]
        assert held.reception.held_bytes == 0
        assert asyncio.run(post_at_once([large])) == [200]


def test_a_single_body_is_bounded_by_its_own_limit_only() -> None:
    larger_than_the_budget = grey_picture(5, size=32) + bytes(20 * 2**20)
    with replica(max_decode_bytes=2**24):
        assert asyncio.run(post_at_once([larger_than_the_budget])) != [503]


def test_a_content_length_of_thousands_of_digits_is_too_large_and_no_error_of_ours() -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    for digits in (10, 5000):
        headers = [(b"content-length", b"9" * digits)]
        with pytest.raises(PictureTooLargeError, match="at most 100 are accepted") as caught:
            asyncio.run(whole_body(Request({"type": "http", "headers": headers}, receive), 100))
        assert len(str(caught.value)) < 100


def test_a_body_that_is_here_already_takes_no_place_of_those_that_arrive() -> None:
    with replica() as held, mock.patch.object(held.reception.bodies, "arriving", side_effect=AssertionError):
        request = Request({"type": "http", "headers": [], "client": None, WHOLE_BODY: True})
        with arriving_body(request):
            pass


async def drip(path: str) -> httpx.Response:
    """Sends a byte a tenth of a second, for two seconds at most."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"a"
            await asyncio.sleep(0.1)

    async with client() as asked:
        return await asked.post(path, content=body())


@pytest.mark.parametrize("path", ["/detect", "/detect?confidence=0.5", "/v2/models/stand-in/infer"])
def test_a_body_that_arrives_too_slowly_is_408_and_ends_the_connection(path: str) -> None:
    with mock.patch.multiple(arriving, WINDOW_S=2, _LOOK_S=0.1), replica():
        answer = asyncio.run(drip(path))
    documented.check(answer)
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert f"{arriving.MINIMUM_RATE} bytes a second" in str(answer.json()["error"])


def test_slow_bodies_never_take_the_place_of_a_quick_one() -> None:
    async def scenario() -> tuple[list[httpx.Response], list[int]]:
        slow = [asyncio.create_task(drip("/detect")) for _ in range(2)]
        await asyncio.sleep(0.3)
        quick = [(await post_at_once([grey_picture(value)]))[0] for value in range(4)]
        return [await each for each in slow], quick

    with mock.patch.object(arriving, "YOUNGEST_S", 0.2), replica(max_queue=1, batch_size=1) as held:
        slow, quick = asyncio.run(scenario())
        assert held.reception.bodies.number == 0
    assert quick == [200] * 4
    # One place was enough for the quick ones; the other slow body was read to its end, and is no picture.
    assert sorted(answer.status_code for answer in slow) == [415, 503]


@pytest.mark.parametrize(
    ("address", "forwarded", "client_address"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.5, 198.51.100.7"], "198.51.100.7"),
        ("::1", ["203.0.113.5", "2001:db8::1"], "2001:db8::1"),
    ],
)
def test_only_a_proxy_on_this_machine_names_another_client(
    address: str, forwarded: list[str], client_address: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert client_of(Request({"type": "http", "headers": headers, "client": (address, 1)})) == client_address
