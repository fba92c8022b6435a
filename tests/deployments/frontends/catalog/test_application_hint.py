"""What a catalogue answers over gRPC: the application that the client should have named."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from deployments.frontends.catalog.application_hint import ApplicationHint
from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol
from deployments.settings import ApplicationSettings
from tests.deployments.access.keys_made import add_key
from tests.deployments.catalogued import catalogued
from tests.deployments.in_process import GrpcContext

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MODELS = {"cars": {"model": "demo"}, "boats": {"model": "demo", "rarely_used": True}}


def refused(run: Run, method: str, message: Any = None, secret: str = "", **settings: Any) -> tuple[str, str]:
    """Returns code and details of the status."""
    context = GrpcContext(x_api_key=secret)
    with catalogued(ApplicationSettings(models=MODELS, engine="onnx", **settings)) as held:
        hint = ApplicationHint()
        hint.catalog, hint.reception = held.catalog, held.reception
        run(getattr(hint, method)(b"" if message is None else message.SerializeToString(), context))
    return context.code.name, context.details


@pytest.mark.parametrize(
    ("model", "application"),
    [("cars", "several.cars"), ("cars_raw", "several.cars"), ("boats", "several._rarely_used")],
)
def test_a_message_that_names_a_model_is_told_its_application(run: Run, model: str, application: str) -> None:
    for method, message in (
        ("ModelInfer", protocol.ModelInferRequest(model_name=model)),
        ("ModelReady", protocol.ModelReadyRequest(name=model)),
    ):
        code, details = refused(run, method, message)
        assert code == "NOT_FOUND"
        assert f"the application of '{model.removesuffix('_raw')}', `application: {application}`" in details


def test_an_unknown_model_is_told_those_that_there_are(run: Run) -> None:
    code, details = refused(run, "ModelInfer", protocol.ModelInferRequest(model_name="planes"))
    assert (code, details) == ("NOT_FOUND", "unknown model 'planes'; served here: cars, boats")


def test_a_message_without_a_model_is_told_how_applications_are_called(run: Run) -> None:
    for method in ("ServerLive", "ServerReady", "RepositoryIndex", "ModelStatistics"):
        code, details = refused(run, method)
        assert code == "NOT_FOUND"
        assert "`application: several.NAME`" in details


def test_no_model_is_named_without_a_key(run: Run, tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys")
    access = {"keys_file": str(tmp_path / "keys")}
    code, details = refused(run, "ModelInfer", protocol.ModelInferRequest(model_name="planes"), access=access)
    assert (code, "cars" in details) == ("UNAUTHENTICATED", False)
    message = protocol.ModelInferRequest(model_name="boats")
    assert refused(run, "ModelInfer", message, secret, access=access)[0] == "NOT_FOUND"


def test_a_key_for_one_model_learns_of_no_other(run: Run, tmp_path: Path) -> None:
    secret = add_key(tmp_path / "keys", models=["cars"])
    access = {"keys_file": str(tmp_path / "keys")}
    unknown = refused(run, "ModelReady", protocol.ModelReadyRequest(name="planes"), secret, access=access)
    assert unknown == ("NOT_FOUND", "unknown model 'planes'; served here: cars")
    for name in ("boats", "boats_raw"):
        refusal = refused(run, "ModelReady", protocol.ModelReadyRequest(name=name), secret, access=access)
        assert refusal == ("PERMISSION_DENIED", "the key 'lab' is not for the model 'boats'")
