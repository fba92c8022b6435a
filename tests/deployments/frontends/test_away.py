"""Away: what a proxy answers while no replica does."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from deployments.frontends.away import Away

SERVES_404 = (404, b"text/plain", b"Path '/detect' not found.")
OUR_404 = (404, b"application/json", b'{"error": {}}')
FOUND = (200, b"application/json", b"{}")


class Serve:
    """Answers as it is told; None: never."""

    def __init__(self, *answers: tuple[int, bytes, bytes] | None) -> None:
        self.answers = [*answers]
        self.cancelled = False
        self.gives_up_after_s = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = self.answers.pop(0)
        if answer is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled = True
                await asyncio.sleep(self.gives_up_after_s)
                raise
        status, kind, body = answer
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})


def ask(away: Away, *paths: str) -> list[tuple[int, bytes]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def run() -> list[tuple[int, bytes]]:
        answers = []
        for path in paths:
            sent: list[dict[str, Any]] = []

            async def send(message: dict[str, Any], sent: list[dict[str, Any]] = sent) -> None:
                sent.append(message)

            await away({"type": "http", "method": "GET", "path": path, "headers": []}, receive, send)
            start, body = sent
            answers.append((start["status"], body["body"]))
        return answers

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_the_probe_of_a_replica_that_dies_is_refused_as_not_ready(path: str) -> None:
    [(status, body)] = ask(Away(Serve((500, b"text/plain", b"Internal Server Error"))), path)
    assert status == 503
    assert b"the replica that was asked is gone" in body


@pytest.mark.parametrize("path", ["/readyz", "/prefix/readyz"])
def test_the_probe_is_refused_in_time_if_no_replica_answers(path: str) -> None:
    serve = Serve(None, FOUND)
    away = Away(serve)
    begun = time.monotonic()
    [(status, body)] = ask(away, path)
    assert time.monotonic() - begun < 1
    assert (status, json.loads(body)["error"]["code"]) == (503, "not_ready")
    assert serve.cancelled
    assert ask(away, path) == [(200, b"{}")]


def test_the_probe_does_not_wait_for_serve_to_give_the_request_up() -> None:
    serve = Serve(None)
    serve.gives_up_after_s = 5

    async def probe() -> float:
        begun = time.monotonic()
        await Away(serve)({"type": "http", "path": "/readyz"}, never, ignore)
        return time.monotonic() - begun

    async def never() -> dict[str, Any]:
        return await asyncio.Future()

    async def ignore(message: Any) -> None:
        pass

    assert asyncio.run(probe()) < 2


def test_a_probe_of_the_open_inference_protocol_is_refused_in_its_error_shape() -> None:
    [(status, body)] = ask(Away(Serve(None)), "/v2/models/demo/ready")
    assert status == 503
    assert "no replica answered" in json.loads(body)["error"]


def test_a_path_that_was_answered_before_is_away_and_not_unknown() -> None:
    away = Away(Serve(SERVES_404, FOUND, SERVES_404, OUR_404, FOUND))
    first, found, gone, own, back = ask(away, *["/detect"] * 5)
    assert first == (404, SERVES_404[2])
    assert (gone[0], json.loads(gone[1])["error"]["status"]) == (503, 503)
    assert own == (404, OUR_404[2])
    assert found == back == (200, b"{}")


def test_what_serve_refuses_of_a_burst_has_the_services_error_shape() -> None:
    dropped = (503, b"text/plain; charset=utf-8", b"Request dropped due to backpressure")
    own = (503, b"application/json", b'{"error": {"code": "gpu_lost"}}')
    away = Away(Serve(FOUND, dropped, own, FOUND, dropped))
    _, burst, lost = ask(away, *["/detect"] * 3)
    assert (burst[0], json.loads(burst[1])["error"]["code"]) == (503, "overloaded")
    assert lost == (503, own[2])
    _, other = ask(away, *["/v2/models/demo/infer"] * 2)
    assert other == (503, dropped[2])


def test_a_model_that_could_not_be_deployed_is_told_in_the_services_error_shape() -> None:
    failed = (503, b"text/plain", b"Deployment(name='DetectorDeployment', app='detector.ships') is unavailable")
    paths = ("/models/ships/detect", "/prefix/models/ships/v2/models/ships", "/detect", "/v2/models/ships/infer")
    own, protocol, *others = ask(Away(Serve(*[failed] * 4)), *paths)
    assert (own[0], json.loads(own[1])["error"]["code"]) == (503, "model_unavailable")
    assert "/models tells its state" in json.loads(own[1])["error"]["message"]
    assert "/models tells its state" in json.loads(protocol[1])["error"]
    assert others == [(503, failed[2])] * 2
