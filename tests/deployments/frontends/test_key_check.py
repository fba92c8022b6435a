"""Keys over HTTP: which requests need one, how it is sent, and how each refusal looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.frontends.asgi import create_api
from deployments.reception import Reception
from deployments.watching.record import RequestRecord
from tests.deployments.access.keys_made import add_key, change_key
from tests.deployments.frontends import documented
from tests.deployments.in_process import client, replica
from tests.stand_in import POISON, grey_picture, open_slow_stand_in

PICTURE = grey_picture(7)
Ask = Callable[[httpx.AsyncClient], Awaitable[Any]]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def asked(keys: Path, ask: Ask, **settings: Any) -> Any:
    """Runs requests on a service that wants keys."""

    async def run() -> Any:
        async with client() as http:
            http.event_hooks["response"].append(_documented)
            return await ask(http)

    # Batches of one: outside of Serve, @serve.batch collects on the first event loop of a process only.
    with replica(access={"keys_file": str(keys)}, batch_size=1, **settings):
        return asyncio.run(run())


async def _documented(response: httpx.Response) -> None:
    await response.aread()
    documented.check(response)


def detect(http: httpx.AsyncClient, secret: str = "", **options: Any) -> Awaitable[httpx.Response]:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    return http.post("/detect", content=PICTURE, headers=headers, **options)


@pytest.mark.parametrize(
    ("name", "scheme"), [("Authorization", "Bearer {}"), ("authorization", "bearer  {}"), ("X-API-Key", "{}")]
)
@pytest.mark.parametrize("query", ["", "?confidence=0.5"])
def test_a_key_opens_the_service(keys, name, scheme, query):
    header = {name: scheme.format(add_key(keys))}
    answer = asked(keys, lambda http: http.post(f"/detect{query}", content=PICTURE, headers=header))
    assert answer.status_code == 200
    assert answer.json()["boxes"][0]["class_id"] == 7


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic {}"},
        {"Authorization": "{}"},
        {"Authorization": "Bearer"},
        {"X-API-Key": ""},
        {"Authorization": "Bearer wrong", "X-API-Key": "{}"},
        {"X-API-Key": "x" * 10000},
        {"X-API-Key": b"\xff\x00\xfe"},
    ],
)
def test_without_a_valid_key_the_answer_is_401(keys, headers):
    secret = add_key(keys)
    sent = {name: value if isinstance(value, bytes) else value.format(secret) for name, value in headers.items()}
    answer = asked(keys, lambda http: http.post("/detect", content=PICTURE, headers=sent))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/model"),
        ("GET", "/nowhere"),
        ("POST", "/detect?confidence=2"),
        ("GET", "/healthz/x"),
        ("OPTIONS", "/detect"),
    ],
)
def test_every_other_path_wants_a_key(keys, method, path):
    add_key(keys)
    assert asked(keys, lambda http: http.request(method, path)).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v2/models/stand-in"),
        ("POST", "/v2/models/stand-in/infer"),
        ("POST", "/v2/repository/index"),
    ],
)
def test_the_open_inference_protocol_has_its_own_error_shape(keys, method, path):
    add_key(keys)
    answer = asked(keys, lambda http: http.request(method, path))
    assert answer.status_code == 401
    assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    "path",
    [
        *("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json"),
        *("/", "/page/page.js", "/samples/sample_1.jpg", "/docs", "/docs/docs.js"),
    ],
)
def test_probes_and_static_files_are_open(keys, path):
    add_key(keys)
    assert asked(keys, lambda http: http.get(path)).status_code == 200
    assert asked(keys, lambda http: http.head(path)).status_code == 200


def test_a_body_is_not_read_without_a_key(keys):
    add_key(keys)
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/detect", "query_string": b"", "headers": [], "root_path": ""}
    with replica(access={"keys_file": str(keys)}):
        asyncio.run(create_api()(scope, receive, send))
    assert sent[0]["status"] == 401


@pytest.mark.parametrize(
    ("change", "code"),
    [({"enabled": False}, "key_disabled"), ({"expires": datetime(2026, 11, 2, tzinfo=timezone.utc)}, "key_expired")],
)
def test_a_known_key_that_is_not_in_force_is_403(keys, change, code):
    secret = add_key(keys)
    change_key(keys, "lab", **change)
    answer = asked(keys, lambda http: detect(http, secret))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)
    assert "'lab'" in answer.json()["error"]["message"]


def test_beyond_its_rate_a_key_is_refused_and_others_are_not(keys):
    secret, other = add_key(keys, rate=0.001, burst=2), add_key(keys, "other")

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [await detect(http, each) for each in (secret, secret, secret, other)]

    *passed, refused, others = asked(keys, ask)
    assert [answer.status_code for answer in [*passed, others]] == [200] * 3
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_exceeded")
    assert 990 <= int(refused.headers["retry-after"]) <= 1000


def test_beyond_its_daily_number_a_key_waits_for_tomorrow(keys):
    secret = add_key(keys, daily=1)

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [await detect(http, secret) for _ in range(2)]

    passed, refused = asked(keys, ask)
    assert passed.status_code == 200
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "daily_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 86400


def test_every_picture_of_a_request_counts(keys):
    secret = add_key(keys, daily=4)
    files = [("picture", (f"{value}.png", grey_picture(value))) for value in (1, 2, 3)]

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        form = await http.post("/detect", files=files, headers={"X-API-Key": secret})
        return [form, *[await detect(http, secret) for _ in range(2)]]

    assert [answer.status_code for answer in asked(keys, ask)] == [200, 200, 429]


def test_requests_without_pictures_count_nothing(keys):
    secret = add_key(keys, daily=1)

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        cards = [await http.get("/model", headers={"X-API-Key": secret}) for _ in range(3)]
        return [*cards, await detect(http, secret)]

    assert [answer.status_code for answer in asked(keys, ask)] == [200] * 4


def test_a_failure_of_the_service_counts_nothing(keys):
    secret = add_key(keys, daily=1)

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        failed = await http.post("/detect", content=grey_picture(POISON), headers={"X-API-Key": secret})
        return [failed, await detect(http, secret)]

    assert [answer.status_code for answer in asked(keys, ask)] == [500, 200]


def test_pictures_that_took_too_long_count(keys):
    secret = add_key(keys, daily=1)

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [await detect(http, secret), await detect(http, secret)]

    late, refused = asked(keys, ask, opener=open_slow_stand_in, timeout_s=0.1)
    assert (late.status_code, refused.status_code) == (504, 429)


def test_a_key_has_only_its_share_of_the_queue(keys):
    secret, other = add_key(keys, share=0.1), add_key(keys, "other")
    files = [("picture", (f"{value}.png", grey_picture(value))) for value in range(6)]

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        sent = [http.post("/detect", files=files, headers={"X-API-Key": each}) for each in (secret, other)]
        answers = await asyncio.gather(*sent)
        return [*answers, await detect(http, secret)]

    limited, free, later = asked(keys, ask, max_queue=32)
    codes = [picture.get("error", {}).get("code") for picture in limited.json()["pictures"]]
    assert codes == [None] * 3 + ["share_exceeded"] * 3
    assert not any("error" in picture for picture in free.json()["pictures"])
    assert later.status_code == 200


def test_the_record_has_the_name_of_the_key(keys, monkeypatch):
    secret = add_key(keys, daily=1)
    records: list[RequestRecord] = []
    monkeypatch.setattr(Reception, "request_over", lambda self, record: records.append(record))

    async def ask(http: httpx.AsyncClient) -> None:
        for each in (secret, secret, "unknown"):
            await detect(http, each)

    asked(keys, ask)
    change_key(keys, "lab", enabled=False)
    asked(keys, lambda http: detect(http, secret))
    seen = [(record.key, record.route, record.status, record.outcome) for record in records]
    assert seen == [
        ("lab", "/detect", 200, "ok"),
        ("lab", "/detect", 429, "daily_exceeded"),
        ("", "/detect", 401, "unauthorized"),
        ("lab", "/detect", 403, "key_disabled"),
    ]


def test_no_key_is_needed_where_none_is_configured():
    async def run() -> int:
        async with client() as http:
            return (await detect(http)).status_code

    with replica():
        assert asyncio.run(run()) == 200
