"""Shortcut: what is answered in front of Serve, when, and that a real Serve behind HAProxy loses nothing by it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ray import serve

from azaion_cli.throughput import serve_environment
from azaion_engine.detector import Detector
from deployments.app import build_application
from deployments.frontends.detect import shortcut
from deployments.settings import ServiceSettings
from tests.running_serve import end_ray, free_port, start_ray
from tests.stand_in import StandInEngine, grey_picture, open_stand_in

SLOW_S = 1.5


@pytest.fixture(autouse=True)
def nothing_offered() -> Iterator[None]:
    shortcut._routes.clear()
    yield
    shortcut._routes.clear()


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Returns the configuration of the deployment whose replica this process is said to be."""
    config = SimpleNamespace(autoscaling_config=None)
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(_deployment_config=config))
    monkeypatch.setattr(serve, "get_trace_context", lambda: None)
    return config


def scope(*headers: tuple[bytes, bytes], **changes: Any) -> dict[str, Any]:
    plain = {"type": "http", "method": "POST", "path": "/a/detect", "query_string": b"", "headers": list(headers)}
    return {**plain, **changes}


class Exchange:
    """One request to a shortcut, as a server makes it: the messages that the client sends, and those it gets."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.messages = [*messages]
        self.to_serve = 0

    async def receive(self) -> dict[str, Any]:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def serves_own(self, scope: Any, receive: Any, send: Any) -> None:
        self.to_serve += 1

    async def __call__(self, request: dict[str, Any]) -> None:
        await shortcut.Shortcut(self.serves_own)(request, self.receive, self.send)


WHOLE = {"type": "http.request", "body": b"picture", "more_body": False}
GONE = {"type": "http.disconnect"}


async def answer(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"boxes"})


def test_an_offered_path_is_answered_with_the_id_of_its_request(replica: Any) -> None:
    async def run() -> None:
        shortcut.offer("/a/detect", answer)
        named, unnamed = Exchange(WHOLE), Exchange(WHOLE)
        await named(scope((b"x-request-id", b"mine")))
        await unnamed(request := scope())
        for exchange in (named, unnamed):
            assert exchange.to_serve == 0
            assert [message["type"] for message in exchange.sent] == ["http.response.start", "http.response.body"]
        assert named.sent[0]["headers"] == [(b"a", b"b"), (b"x-request-id", b"mine")]
        made = dict(unnamed.sent[0]["headers"])[b"x-request-id"]
        assert len(made) == 36
        assert dict(request["headers"]) == {b"x-request-id": made}, "metrics and log read it there"

    asyncio.run(run())


@pytest.mark.parametrize(
    "other",
    [
        scope(path="/detect"),
        scope(path="/a/model"),
        scope(method="GET"),
        scope(query_string=b"confidence=0.5"),
        scope((b"content-type", b"multipart/form-data; boundary=x")),
        scope((b"accept", b"image/jpeg")),
        scope((b"x-request-timeout-seconds", b"1")),
        {"type": "websocket", "path": "/a/detect"},
        {"type": "lifespan"},
    ],
)
def test_every_other_request_goes_to_serve(replica: Any, other: dict[str, Any]) -> None:
    async def run() -> None:
        shortcut.offer("/a/detect", answer)
        exchange = Exchange(WHOLE)
        await exchange(other)
        assert (exchange.to_serve, exchange.sent) == (1, [])

    asyncio.run(run())


def test_another_event_loop_goes_to_serve(replica: Any) -> None:
    async def offer() -> None:
        shortcut.offer("/a/detect", answer)

    async def ask() -> int:
        await (exchange := Exchange(WHOLE))(scope())
        return exchange.to_serve

    asyncio.run(offer())
    assert asyncio.run(ask()) == 1


@pytest.mark.parametrize("case", ["autoscaling", "tracing", "another version of Serve"])
def test_serve_sees_every_request_where_it_must(replica: Any, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    async def ask() -> int:
        shortcut.offer("/a/detect", answer)
        await (exchange := Exchange(WHOLE))(scope())
        return exchange.to_serve

    with monkeypatch.context() as patch:
        if case == "autoscaling":
            replica.autoscaling_config = object()
        elif case == "tracing":
            patch.setattr(serve, "get_trace_context", lambda: {"a": 1})
        else:
            patch.setattr(serve, "get_replica_context", SimpleNamespace)
        assert asyncio.run(ask()) == 1
    shortcut._routes.clear()
    replica.autoscaling_config = None
    assert asyncio.run(ask()) == 0, "else this test would pass with no shortcut at all"


def test_a_client_that_leaves_cancels_its_request_and_nothing_else(
    replica: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "GONE_AFTER_S", 0.02)
    cancelled = []

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(scope["headers"])
            raise

    async def run() -> None:
        shortcut.offer("/a/detect", never)
        leaving, staying = Exchange(WHOLE, GONE), Exchange(WHOLE)
        other = asyncio.create_task(staying(scope((b"x-request-id", b"stays"))))
        began = time.monotonic()
        await leaving(scope((b"x-request-id", b"leaves")))
        assert time.monotonic() - began < 5
        assert cancelled == [[(b"x-request-id", b"leaves")]]
        assert not other.done()
        other.cancel()
        with pytest.raises(asyncio.CancelledError):  # the server's own cancellation is not swallowed
            await other
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_nobody_else_reads_while_the_body_arrives(replica: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut, "GONE_AFTER_S", 0.0)

    async def run() -> None:
        shortcut.offer("/a/detect", answer)
        exchange = Exchange({**WHOLE, "more_body": True}, {**WHOLE, "more_body": True}, WHOLE)
        await exchange(scope())
        assert exchange.sent[-1]["body"] == b"boxes"

    asyncio.run(run())


class TellingEngine(StandInEngine):
    """Its name, which every answer has, says whether Serve knows of the current request."""

    @property
    def name(self) -> str:
        return "seen by Serve" if serve.context._get_serve_request_context().request_id else "in front of Serve"


def open_telling(settings: ServiceSettings) -> Detector:
    return Detector(TellingEngine())


def open_slow(settings: ServiceSettings) -> Detector:
    return open_stand_in(settings, seconds=SLOW_S)


OPENERS = {"quick": open_telling, "slow": open_slow, "ending": partial(open_stand_in, seconds=SLOW_S)}


class Behind:
    """A real Serve behind HAProxy, in throughput mode, with a quick application and two slow ones."""

    def __init__(self) -> None:
        self.port = free_port()

    def environment(self) -> dict[str, str]:
        given = {"RAY_ADDRESS": "local", "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.1"}
        environment, missing = serve_environment(given, self.port, throughput=True)
        assert not missing
        return environment

    def deploy(self) -> None:
        settings = ServiceSettings(num_gpus=0, timeout_s=20)
        serve.run_many(
            [
                serve.RunTarget(build_application(settings, opener), name=name, route_prefix=f"/{name}")
                for name, opener in OPENERS.items()
            ]
        )

    def client(self, name: str) -> httpx.Client:
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/{name}", timeout=30)
        end = time.monotonic() + 30
        while client.get("/model").status_code != 200:  # HAProxy learns of an application a moment later
            assert time.monotonic() < end
            time.sleep(0.1)
        return client


@pytest.fixture(scope="module")
def behind(last_ray_ends: None) -> Iterator[Behind]:
    made = Behind()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment().items():
            patch.setenv(name, value)
        start_ray(num_cpus=8, num_gpus=0)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": made.port})
    made.deploy()
    yield made
    end_ray()


def test_behind_haproxy_plain_pictures_are_answered_as_on_the_documented_route(behind: Behind) -> None:
    def engine(**parameters: float) -> str:
        answer = client.post("/detect", content=grey_picture(7), params=parameters)
        return str(answer.json()["model"]["engine"])

    with closing(behind.client("quick")) as client:
        end = time.monotonic() + 30
        while engine() != "in front of Serve":  # at first requests come through Serve's own proxy
            assert time.monotonic() < end
            time.sleep(0.1)
        assert engine(confidence=0.25) == "seen by Serve"
        for picture in (grey_picture(7), grey_picture(8, "JPEG"), b"no picture", b""):
            answers = [client.post("/detect", content=picture, params=p) for p in ({"confidence": 0.25}, {}, {})]
            contents = [answer.json() for answer in answers]
            for content in contents:
                content.pop("timing_ms", None)
                content.pop("model", None)
            assert len({answer.status_code for answer in answers}) == 1
            assert contents[0] == contents[1] == contents[2]
        named = client.post("/detect", content=grey_picture(7), headers={"X-Request-ID": "order 66"})
        assert named.headers["X-Request-ID"] == "order_66"
        assert named.headers.get_list("X-Request-ID") == ["order_66"]
        assert len(client.post("/detect", content=grey_picture(7)).headers["X-Request-ID"]) == 36


def test_behind_haproxy_a_client_that_leaves_gives_its_picture_up(behind: Behind) -> None:
    with closing(behind.client("slow")) as client:
        client.post("/detect", content=grey_picture(1))  # from now on the shortcut answers
        first = threading.Thread(target=client.post, args=("/detect",), kwargs={"content": grey_picture(2)})
        first.start()
        time.sleep(0.3)
        body = grey_picture(3)
        with socket.create_connection(("127.0.0.1", behind.port)) as leaving:  # waits behind the first
            leaving.sendall(
                f"POST /slow/detect HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            time.sleep(0.2)
        time.sleep(0.6)
        answered = client.post("/detect", content=grey_picture(4), params={"confidence": 0})
        first.join()
        batch = [box["class_id"] for box in answered.json()["boxes"] if 1_000 <= box["class_id"] < 100_000]
        assert batch == [1_001], "whoever left was not run with it"


def test_behind_haproxy_what_was_accepted_is_answered_before_a_replica_ends(behind: Behind) -> None:
    with closing(behind.client("ending")) as client:
        client.post("/detect", content=grey_picture(1))
        answers: list[httpx.Response] = []

        def ask(value: int) -> None:
            answers.append(httpx.post(f"{client.base_url}detect", content=grey_picture(value), timeout=30))

        asking = [threading.Thread(target=ask, args=(value,)) for value in (5, 6, 7)]
        for thread in asking:
            thread.start()
        time.sleep(0.4)
        serve.delete("ending")
        for thread in asking:
            thread.join()
        assert sorted(answer.json()["boxes"][0]["class_id"] for answer in answers) == [5, 6, 7]
