"""Several models on a real Serve: each its own application, with stand-in engines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from ray import serve

from azaion_engine.detector import Detector
from azaion_engine.errors import ModelError
from deployments.app import build_catalog
from deployments.settings import ApplicationSettings, ServiceSettings
from tests.running_serve import RunningServe
from tests.stand_in import grey_picture, open_stand_in


def open_by_name(settings: ServiceSettings) -> Detector:
    if settings.name == "broken":
        raise ModelError("it is no detector")
    return open_stand_in(settings)


@pytest.fixture(scope="module")
def service(running_serve: RunningServe) -> Iterator[httpx.Client]:
    """A catalogue of two models that serve and a third whose engine cannot be built."""
    models = {name: {"model": "demo"} for name in ("cars", "ships", "broken")}
    settings = ApplicationSettings(models=models, engine="onnx")
    serve.run(build_catalog(settings, open_by_name), name="several", route_prefix="/several")
    with httpx.Client(base_url=f"{running_serve.url}/several", timeout=60) as client:
        wait_for(client, {"cars": "serving", "ships": "serving", "broken": "failed"})
        yield client
    serve.delete("several")
    for name in models:
        serve.delete(f"several.{name}")


def states(client: httpx.Client) -> dict[str, str]:
    return {model["name"]: model["state"] for model in client.get("/models").json()["models"]}


def wait_for(client: httpx.Client, wanted: dict[str, str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while (now := states(client)) != wanted:
        assert time.monotonic() < deadline, now
        time.sleep(0.5)


def classes(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [box["class_id"] for box in answer.json()["boxes"]]


def test_each_model_answers_under_its_own_route_and_by_name_in_the_query(service: httpx.Client) -> None:
    for name in ("cars", "ships"):
        direct = service.post(f"/models/{name}/detect", content=grey_picture(7))
        named = service.post("/detect", params={"model": name, "confidence": 0.5}, content=grey_picture(9))
        assert (classes(direct), direct.json()["model"]["name"]) == ([7], name)
        assert (classes(named), named.json()["model"]["name"]) == ([9], name)
        described = service.get(f"/v2/models/{name}_raw")
        assert described.json()["name"] == f"{name}_raw"


def test_a_model_whose_engine_cannot_be_built_tells_why_and_leaves_the_others(service: httpx.Client) -> None:
    listed: dict[str, Any] = {model["name"]: model for model in service.get("/models").json()["models"]}
    assert "it is no detector" in listed["broken"]["message"]
    assert (listed["broken"]["card"], listed["cars"]["card"]["name"]) == (None, "cars")
    refused = service.post("/detect?model=broken", content=grey_picture(1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    assert "it is no detector" in refused.json()["error"]["message"]
    assert service.get("/readyz").status_code == 200
