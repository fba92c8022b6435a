"""SafeHeaders: on every answer, whatever gives it; and redirects that stay here."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from deployments.frontends.safe_headers import SAFE_HEADERS
from tests.deployments.in_process import client, replica
from tests.stand_in import POISON, grey_picture

EVIL = {"Host": "evil.example"}


def ask(method: str, path: str, **given: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        with replica():
            async with client() as asked:
                return await asked.request(method, path, **given)

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/detect", grey_picture(5), 200),
        ("POST", "/detect", b"no picture", 415),
        ("POST", "/detect", grey_picture(POISON), 500),
        ("POST", "/detect?format=image", grey_picture(5), 200),
        ("POST", "/detect?confidence=7", b"", 422),
        ("GET", "/model", b"", 200),
        ("GET", "/openapi.json", b"", 200),
        ("GET", "/nothing", b"", 404),
        ("GET", "/v2", b"", 200),
        ("GET", "/v2/models/unicorn", b"", 404),
        ("GET", "/", b"", 200),
        ("GET", "/page/page.js", b"", 200),
        ("GET", "/docs", b"", 200),
    ],
)
def test_every_answer_has_them(method: str, path: str, content: bytes, status: int) -> None:
    answer = ask(method, path, content=content)
    assert answer.status_code == status
    assert set(SAFE_HEADERS) <= {name.title() for name in answer.headers}
    assert answer.headers["x-content-type-options"] == "nosniff"
    own = method == "GET" and path.split("/")[1] in ("", "page", "docs")
    assert answer.headers["x-frame-options"] == ("SAMEORIGIN" if own else "DENY")
    assert ("default-src 'self'" if own else "default-src 'none'") in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "place"), [("/model/", "/model"), ("/model/?a=b", "/model?a=b"), ("//evil.example/model/", None)]
)
def test_a_redirect_never_leads_to_the_host_that_the_request_named(path: str, place: str | None) -> None:
    answer = ask("GET", path, headers=EVIL)
    if place is None:
        assert not answer.headers.get("location", "/").startswith(("//", "http"))
    else:
        assert (answer.status_code, answer.headers["location"]) == (307, place)
