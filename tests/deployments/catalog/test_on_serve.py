"""Several models on a real Serve: real engines, a swap under load, a canary, and a model that cannot be built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import ray
from playwright.sync_api import expect
from ray import serve

from azaion_cli.app import main
from azaion_cli.throughput import SETTINGS
from azaion_engine.detector import Detector
from azaion_engine.model.file import ModelFile, sample_picture
from deployments.app import build_catalog
from deployments.settings import ApplicationSettings
from tests.azaion_engine.models import make_detector
from tests.deployments.frontends.open_inference.grpc_calls import Input, call, call_and_trailing, fails, protocol
from tests.deployments.frontends.page.browser import Visit, open_chromium
from tests.running_serve import Deployed, RunningServe

ROOT = Path(__file__).parents[3]
PICTURE = sample_picture()
CONFIDENCE = 0.05
SERVED = {"cars": "old", "ships": "ships", "broken": "broken", "boats": "new", "kites": "old"}
"""Model → its file."""
RARE = ("boats", "kites")


@dataclass
class Service:
    """A catalogue on Serve.

    Attributes:
        http: Client of the catalogue.
        files: Three models of other weights, and a file that is none.
        boxes: What each of them finds in the picture, by its version.
    """

    http: httpx.Client
    files: dict[str, Path]
    boxes: dict[str, list[Any]] = field(default_factory=dict)

    def models(self) -> dict[str, dict[str, Any]]:
        return {model["name"]: model for model in self.http.get("/models").json()["models"]}

    def version(self, file: str) -> str:
        return ModelFile.read(str(self.files[file])).sha256[:12]

    def ask(self, name: str) -> dict[str, Any]:
        """Sends the picture, and checks that the boxes are those of the version that the answer names."""
        answer = self.http.post(f"/models/{name}/detect", params={"confidence": CONFIDENCE}, content=PICTURE)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert rounded(found["boxes"]) == self.boxes[found["model"]["version"]]
        return dict(found["model"])


def rounded(boxes: list[dict[str, Any]]) -> list[Any]:
    return [[box["class_id"], *(round(box[key]) for key in ("x1", "y1", "x2", "y2"))] for box in boxes]


@pytest.fixture(scope="module")
def service(running_serve: RunningServe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A catalogue of two models that serve and a third whose engine cannot be built."""
    folder = tmp_path_factory.mktemp("models")
    files = {name: folder / f"{name}.onnx" for name in ("old", "new", "ships", "broken")}
    boxes = {}
    for seed, (name, path) in enumerate(files.items()):
        path.write_bytes(b"no model" if name == "broken" else make_detector(seed=seed))
        if name != "broken":
            with Detector.open(model=str(path), engine="onnx", threads=1) as detector:
                [found] = detector.detect([PICTURE], confidence=CONFIDENCE)
            assert len(found) > 0
            boxes[ModelFile.read(str(path)).sha256[:12]] = rounded(found.to_dicts())
    assert len({str(each) for each in boxes.values()}) == 3  # so that an answer of another model is noticed
    models: dict[str, dict[str, Any]] = {name: {"model": str(files[file])} for name, file in SERVED.items()}
    for name in RARE:
        models[name]["rarely_used"] = True
    settings = ApplicationSettings(
        models=models,
        rarely_used={"loaded": 1},
        recent_pictures=2,
        engine="onnx",
        threads=1,
        cache_dir=folder / "cache",
    )
    serve.run(build_catalog(settings), name="several", route_prefix="/several")
    with httpx.Client(base_url=f"{running_serve.url}/several", timeout=60) as client:
        running = Service(client, files, boxes)
        wait_until(
            lambda: (
                {name: model["state"] for name, model in running.models().items()}
                == {**dict.fromkeys(SERVED, "serving"), "broken": "failed"}
            )
        )
        yield running
    serve.delete("several", _blocking=False)


def wait_until(reached: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@contextmanager
def eight_clients(service: Service) -> Iterator[list[dict[str, Any]]]:
    """Asks the model without a pause; every answer must be right, and none may be lost."""
    answers: list[dict[str, Any]] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        try:
            while not over.is_set():
                answers.append(service.ask("cars"))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    yield answers
    over.set()
    for thread in threads:
        thread.join(60)
    assert errors == []


def order(method: str, *arguments: Any) -> str:
    return str(getattr(serve.get_app_handle("several"), method).remote(*arguments).result(timeout_s=60))


def newest(service: Service) -> dict[str, Any]:
    return dict(service.models()["cars"]["history"][0])


def test_each_model_answers_under_its_own_route_and_by_name_in_the_query(service: Service) -> None:
    for name, file in (("cars", "old"), ("ships", "ships")):
        assert service.ask(name) == {"name": name, "version": service.version(file), "engine": "onnxruntime-cpu"}
        query = {"model": name, "confidence": CONFIDENCE}
        named = service.http.post("/detect", params=query, content=PICTURE).json()
        assert (named["model"]["name"], rounded(named["boxes"])) == (name, service.boxes[service.version(file)])
        assert service.http.get(f"/v2/models/{name}_raw").json()["name"] == f"{name}_raw"


def test_a_model_whose_engine_cannot_be_built_tells_why_and_leaves_the_others(service: Service) -> None:
    broken = service.models()["broken"]
    assert "broken.onnx" in broken["message"]
    assert broken["card"] is None
    refused = service.http.post("/detect?model=broken", content=PICTURE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    assert service.http.get("/readyz").status_code == 200


def test_a_swap_under_load_loses_no_request_and_gives_no_answer_of_a_wrong_version(service: Service) -> None:
    old, new = service.version("old"), service.version("new")
    with eight_clients(service) as answers:
        assert order("deploy", "cars", str(service.files["new"])) == new
        wait_until(lambda: newest(service)["state"] == "serving" and service.ask("cars")["version"] == new)
        after = len(answers) + 16
        wait_until(lambda: len(answers) >= after)
        assert order("rollback", "cars") == old
        wait_until(lambda: newest(service)["state"] == "serving" and service.ask("cars")["version"] == old)
    assert {answer["name"] for answer in answers} == {"cars"}
    assert {answer["version"] for answer in answers} == {old, new}


def test_a_file_that_is_no_model_is_refused_and_the_old_version_serves_on(service: Service) -> None:
    half = service.files["new"].with_name("half.onnx")
    half.write_bytes(make_detector(seed=9, unknown_op=True))
    serving = service.ask("cars")["version"]
    order("deploy", "cars", str(half))
    wait_until(lambda: newest(service)["state"] == "failed")
    assert "Mystery" in newest(service)["message"]
    assert service.ask("cars")["version"] == service.models()["cars"]["version"] == serving


def test_a_canary_gets_some_requests_and_goes_with_a_rollback(service: Service) -> None:
    old, new = service.version("old"), service.version("new")
    order("deploy", "cars", str(service.files["new"]), 0.5)
    wait_until(lambda: newest(service)["state"] == "canary")
    assert service.models()["cars"]["canary"] == {"version": new, "share": 0.5}
    wait_until(lambda: service.ask("cars")["version"] == new)
    versions = [service.ask("cars")["version"] for _ in range(10)]
    assert sorted(versions) == sorted([old, new] * 5)
    order("rollback", "cars")
    assert {service.ask("cars")["version"] for _ in range(4)} == {old}


def test_a_model_that_is_rarely_used_is_loaded_by_its_first_request_and_makes_room_for_another(
    service: Service,
) -> None:
    assert [service.models()[name]["loaded"] for name in SERVED] == [None, None, None, False, False]
    assert service.http.get("/models/boats/readyz").status_code == 200
    for name, other in (RARE, RARE[::-1]):
        waited = service.http.post("/detect", params={"model": name}, content=PICTURE)
        assert waited.headers["server-timing"].startswith("load;dur=")
        version = service.version(SERVED[name])
        assert service.ask(name) == {"name": name, "version": version, "engine": "onnxruntime-cpu"}
        models = service.models()
        assert (models[name]["loaded"], models[other]["loaded"]) == (True, False)
        assert models[name]["card"]["version"] == models[name]["version"] == version
        assert models[name]["load_s"] > 0
    with ThreadPoolExecutor(8) as pool:
        asked = [name for _ in range(8) for name in RARE]
        assert [each["name"] for each in pool.map(service.ask, asked)] == asked


def test_a_new_version_of_a_model_that_is_rarely_used_is_checked_and_loaded_by_the_next_request(
    service: Service,
) -> None:
    def newest_of_boats() -> tuple[str, str]:
        entry = service.models()["boats"]["history"][0]
        return entry["version"], entry["state"]

    order("deploy", "boats", str(service.files["ships"]))
    wait_until(lambda: newest_of_boats() == (service.version("ships"), "serving"))
    wait_until(lambda: service.ask("boats")["version"] == service.version("ships"))
    order("rollback", "boats")
    wait_until(lambda: newest_of_boats() == (service.version("new"), "serving"))
    wait_until(lambda: service.ask("boats")["version"] == service.version("new"))


def test_a_call_over_grpc_names_the_application_of_its_model(service: Service, running_serve: RunningServe) -> None:
    with grpc.insecure_channel(running_serve.grpc_address) as channel:
        for name, file in (("cars", "old"), ("ships", "ships")):
            app = Deployed(None, "", f"several.{name}")
            contents = protocol.InferTensorContents(bytes_contents=[PICTURE])
            tensor = Input(name="picture", datatype="BYTES", shape=[1], contents=contents)
            answer = call(channel, "ModelInfer", app, model_name=name, inputs=[tensor])
            assert answer.model_name == name
            assert answer.parameters["version"].string_param == service.version(file)


def test_models_that_are_rarely_used_are_loaded_by_calls_over_grpc_to_the_application_that_they_share(
    service: Service, running_serve: RunningServe
) -> None:
    app = Deployed(None, "", "several._rarely_used")
    contents = protocol.InferTensorContents(bytes_contents=[PICTURE])
    inputs = [Input(name="picture", datatype="BYTES", shape=[1], contents=contents)]
    with grpc.insecure_channel(running_serve.grpc_address) as channel:
        call(channel, "ModelReady", app, name=RARE[1])  # so that the first one is not in memory
        for name, model_id in ((RARE[0], ""), (RARE[1], RARE[1])):
            answer, trailing = call_and_trailing(
                channel, "ModelInfer", app, model_id=model_id, model_name=name, inputs=inputs
            )
            assert answer.model_name == name
            assert answer.parameters["version"].string_param == service.version(SERVED[name])
            assert trailing["server-timing"].startswith("load;dur=")
            assert service.models()[name]["loaded"]
            _, trailing = call_and_trailing(channel, "ModelReady", app, name=name)
            assert "server-timing" not in trailing
        index = call(channel, "RepositoryIndex", app)
        assert [each.name for each in index.models] == [each for name in RARE for each in (name, f"{name}_raw")]
        words = fails(grpc.StatusCode.INVALID_ARGUMENT, channel, "ModelReady", app, model_id="boats", name="kites")
        assert "expected the same" in words
        words = fails(grpc.StatusCode.NOT_FOUND, channel, "ModelReady", app, name="cars")
        assert "several.NAME" in words
        words = fails(grpc.StatusCode.NOT_FOUND, channel, "ModelReady", Deployed(None, "", "several"), name="boats")
        assert "`application: several._rarely_used`" in words
    assert service.http.get("/models/_rarely_used/detect").status_code == 404


def test_the_example_asks_each_model_that_is_served(service: Service, tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(PICTURE)
    url = str(service.http.base_url).rstrip("/")
    command = [sys.executable, "examples/several_models.py", str(tmp_path / "picture.jpg"), "--url", url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    cars, ships, broken, boats, _ = done.stdout.splitlines()
    assert cars.startswith(f"cars {service.version('old')}: ")
    assert ships.startswith(f"ships {service.version('ships')}: ")
    assert broken.startswith("broken: failed, ")
    assert boats.startswith(f"boats {service.version('new')}: ")


def test_the_command_deploys_compares_and_takes_back(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "picture.jpg").write_bytes(PICTURE)
    new = service.files["new"]
    assert main(["deploy", "cars", str(new), "--compare", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["version"], told["state"]) == ("cars", service.version("new"), "serving")
    assert "agree: " in told["comparison"]
    assert service.ask("cars")["version"] == service.version("new")
    assert main(["deploy", "cars", "--rollback"]) == 0
    assert service.ask("cars")["version"] == service.version("old")
    assert main(["deploy", "cars", str(service.files["ships"]), "--compare-recent", "--least", "1"]) == 4
    assert "at least 100.0% were asked for" in capsys.readouterr().err
    assert main(["deploy", "planes", str(new)]) == 2
    assert "served here: cars, ships, broken, boats, kites" in capsys.readouterr().err
    assert service.ask("cars")["version"] == service.version("old")


def test_the_command_runs_in_a_shell_with_the_environment_of_throughput_mode(service: Service) -> None:
    # As the guide has it: the variables of configs/throughput.env, then `ray start`, all in one shell.
    environment = {**os.environ, **SETTINGS, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    command = [sys.executable, "-m", "azaion_cli", "deploy", "planes", str(service.files["new"])]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    served = ", ".join(SERVED)
    assert (ran.returncode, ran.stderr) == (2, f"error: unknown model 'planes'; served here: {served}\n")


def test_the_page_offers_the_models_and_asks_the_chosen_one(service: Service) -> None:
    with open_chromium() as browser:
        visit = Visit(browser.new_page(), f"{service.http.base_url}")
        options = visit.page.locator("#models option")
        expect(options).to_have_text(["cars", "ships", "broken (failed)", "boats", "kites"])
        expect(visit.page.locator("#served")).to_contain_text("cars on")
        visit.page.locator("#models").select_option("ships")
        expect(visit.page.locator("#served")).to_contain_text("ships on")
        visit.page.locator("[data-sample='sample_1.jpg']").click()
        expect(visit.page.locator("#curl")).to_contain_text("/several/models/ships/detect")
        assert [request.partition("?")[0] for request in visit.asked()] == [
            f"POST {service.http.base_url}models/ships/detect"
        ]
        assert visit.complaints == []


def test_the_models_go_with_the_service(service: Service) -> None:
    serve.delete("several", _blocking=False)
    wait_until(lambda: not any(name.startswith("several") for name in serve.status().applications))
