"""The documentation at /docs: complete without another host."""

from __future__ import annotations

import asyncio
import re

import httpx

from tests.deployments.in_process import client, replica


def fetch(*paths: str) -> list[httpx.Response]:
    async def all_of_them() -> list[httpx.Response]:
        with replica():
            async with client() as asked:
                return [await asked.get(path) for path in paths]

    return asyncio.run(all_of_them())


def test_all_that_the_page_loads_is_here_and_allowed_by_its_policy() -> None:
    [page] = fetch("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "docs/swagger-ui-bundle.js" in loaded
    assert not [address for address in loaded if "//" in address]
    assert "<script>" not in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src" not in policy
    assert policy.startswith("default-src 'self';")
    answers = fetch(*(f"/{address}" for address in loaded))
    assert [answer.status_code for answer in answers] == [200] * len(loaded)
    types = {
        address.rpartition(".")[2]: answer.headers["content-type"]
        for address, answer in zip(loaded, answers, strict=True)
    }
    assert types["js"].startswith("text/javascript")
    assert types["css"].startswith("text/css")


def test_another_file_is_404() -> None:
    [answer] = fetch("/docs/secret.txt")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
