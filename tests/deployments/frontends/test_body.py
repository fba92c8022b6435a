from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from azaion_engine.errors import PictureTooLargeError
from deployments.frontends.body import whole_body
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
        assert held.service._body_bytes == 0
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
