"""Status of every error over HTTP and gRPC."""

from __future__ import annotations

import time

import grpc
import pytest

from azaion_engine.errors import BadInputError
from deployments.errors import status_of
from deployments.frontends.failures import explain
from deployments.frontends.open_inference.grpc_service import _GRPC_CODES
from deployments.frontends.open_inference.messages import protocol_status
from tests.deployments.frontends.open_inference.grpc_calls import call, fails, picture
from tests.deployments.test_errors import every_error
from tests.stand_in import LOST, grey_picture


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_over_http_and_a_code_over_grpc(kind):
    failure = explain(kind("what happened"), "here")
    status = protocol_status(failure)
    assert failure.message == "what happened"
    code = grpc.StatusCode[_GRPC_CODES.get(status, "INTERNAL")]
    if issubclass(kind, BadInputError):
        expected = {
            401: grpc.StatusCode.UNAUTHENTICATED,
            403: grpc.StatusCode.PERMISSION_DENIED,
            404: grpc.StatusCode.NOT_FOUND,
            429: grpc.StatusCode.RESOURCE_EXHAUSTED,
        }
        assert status in (400, 413, *expected)
        assert code == expected.get(status, grpc.StatusCode.INVALID_ARGUMENT)
    else:
        assert status == status_of(kind("what happened"))
        expected = {503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.DEADLINE_EXCEEDED}
        assert code == expected.get(status, grpc.StatusCode.INTERNAL)


def test_what_was_not_raised_on_purpose_is_not_shown():
    failure = explain(RuntimeError("a secret"), "here")
    assert failure[:3] == ("internal", "an unexpected error; the server's log has the details", 500)


def test_overload_is_503_with_retry_after_or_unavailable(running_serve, channel):
    app = running_serve.full()
    running = app.handle.detect.remote(grey_picture(1))
    time.sleep(0.3)
    one_more = {"model_name": "stand-in", "inputs": [picture(5)]}
    assert "queue is full" in fails(grpc.StatusCode.UNAVAILABLE, channel, "ModelInfer", app, **one_more)
    with app.client() as client:
        response = client.post("/v2/models/stand-in/infer", json={"inputs": []})
    running.result()
    assert response.status_code == 503
    assert "queue is full" in response.json()["error"]
    assert int(response.headers["Retry-After"]) >= 1


def test_with_its_gpu_lost_the_server_is_live_and_not_ready(running_serve, channel):
    app = running_serve.deploy(own=True)
    lost = {"model_name": "stand-in", "inputs": [picture(LOST)]}
    fails(grpc.StatusCode.UNAVAILABLE, channel, "ModelInfer", app, **lost)
    assert not call(channel, "ServerReady", app).ready
    assert not call(channel, "ModelReady", app, name="stand-in").ready
    assert call(channel, "ServerLive", app).live
    with app.client() as client:
        for path in ("/v2/health/ready", "/v2/models/stand-in/ready"):
            response = client.get(path)
            assert (response.status_code, set(response.json())) == (503, {"error"})
        assert client.get("/v2/health/live").status_code == 200


def test_metrics_and_log_name_an_error_as_detect_does():
    for kind in every_error():
        assert explain(kind("what happened"), "here").code == kind.code
