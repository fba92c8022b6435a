from __future__ import annotations

import asyncio

import pytest
from fastapi import Request
from ray.exceptions import TaskCancelledError
from starlette.requests import ClientDisconnect

from deployments.frontends.body import whole_body


def test_a_client_whose_call_serve_has_cancelled_has_left() -> None:
    messages = iter([{"type": "http.request", "body": b"half", "more_body": True}])

    async def receive() -> dict[str, object]:
        for message in messages:
            return message
        raise TaskCancelledError

    with pytest.raises(ClientDisconnect):
        asyncio.run(whole_body(Request({"type": "http", "headers": []}, receive), 100))
