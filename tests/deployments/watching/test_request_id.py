"""SafeRequestId: which headers of a client reach Serve."""

from __future__ import annotations

import asyncio

import pytest

from deployments.watching.request_id import SafeRequestId

Headers = list[tuple[bytes, bytes]]


def passed(given: Headers) -> Headers:
    seen: Headers = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])

    asyncio.run(SafeRequestId(app)({"type": "http", "headers": given}, None, None))
    return seen


@pytest.mark.parametrize(
    "name",
    [b"serve_multiplexed_model_id", b"serve-multiplexed-model-id", b"serve-multiplexed_model-id"],
)
def test_a_model_id_is_removed_however_it_is_spelt(name: bytes) -> None:
    assert passed([(b"host", b"a"), (name, b"x")]) == [(b"host", b"a")]


def test_only_headers_in_utf8_are_passed_on() -> None:
    kept = [(b"x-session-id", "é".encode()), (b"x-request-timeout-seconds", b"5"), (b"x-request-id", b"order-66")]
    odd = [(b"x-session-id", b"\xff"), (b"traceparent", b"caf\xe9")]
    assert passed([*odd, *kept]) == kept


def test_an_id_that_is_not_utf8_is_made_safe() -> None:
    assert passed([(b"x-request-id", b"caf\xe9")]) == [(b"x-request-id", b"caf_")]
