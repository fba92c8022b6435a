"""Routes of a catalogue, without Ray: the list, what is forwarded, and what is refused."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.schema import ApplicationStatus

from deployments.frontends.catalog.asgi import create_catalog_api
from deployments.multiplexing.cache_report import CacheReport
from deployments.settings import ApplicationSettings
from tests.deployments.access.keys_made import add_key
from tests.deployments.catalogued import CataloguedReplica, catalog_client, catalogued
from tests.stand_in import grey_picture

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MODELS = {"cars": {"model": "demo"}, "ships": {"model": "demo", "max_picture_bytes": 2000}}


def asked(
    run: Run,
    ask: Callable[[httpx.AsyncClient], Awaitable[Any]],
    prepare: Callable[[CataloguedReplica], None] = lambda held: None,
    models: dict[str, dict[str, Any]] = MODELS,
    **settings: Any,
) -> Any:
    async def scenario() -> Any:
        async with catalog_client() as http:
            return await ask(http)

    with catalogued(ApplicationSettings(models=models, engine="onnx", **settings)) as held:
        prepare(held)
        return run(scenario())


def test_a_picture_goes_to_the_model_that_the_query_names(run: Run) -> None:
    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.post(
                "/detect?model=cars&confidence=0.5", content=grey_picture(5), headers={"X-Request-ID": "a"}
            ),
            await http.post("/detect?model=cars", files={"picture": ("p.png", grey_picture(6))}),
            await http.post("/detect", params={"model": "cars", "format": "image"}, content=grey_picture(7)),
            await http.post("/detect?model=cars&confidence=7", content=grey_picture(8)),
        ]

    plain, form, image, wrong = asked(run, ask)
    assert [box["class_id"] for box in plain.json()["boxes"]] == [5]
    assert form.json()["pictures"][0]["boxes"][0]["class_id"] == 6
    assert image.content.startswith(b"\xff\xd8")
    assert "dur=" in image.headers["server-timing"]
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("/detect", 422, "invalid_parameter", "expected one of cars, ships"),
        ("/detect?model=cars&model=ships", 422, "invalid_parameter", "send it as ?model=NAME, given 2 names"),
        ("/detect?model=planes", 404, "unknown_model", "'planes'; served here: cars, ships"),
        ("/models/planes/detect", 404, "unknown_model", "'planes'; served here: cars, ships"),
    ],
)
def test_a_request_without_a_known_model_names_those_that_there_are(
    run: Run, path: str, status: int, code: str, words: str
) -> None:
    answer = asked(run, lambda http: http.post(path, content=grey_picture(5)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert words in answer.json()["error"]["message"]


def test_a_path_that_names_a_model_passes_the_whole_query_to_it(run: Run) -> None:
    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.post("/models/cars/detect?model=ships&confidence=0.5", content=grey_picture(5)),
            await http.get("/models/cars/model?model=ships"),
            await http.get("/v2/models/stand-in?model=ships"),
            await http.post("/models/cars/detect?classes=%37&classes=8", content=grey_picture(7)),
        ]

    *refused, answered = asked(run, ask, models={**MODELS, "stand-in": {"model": "demo"}})
    assert [answer.status_code for answer in refused] == [422, 422, 400]
    for answer in refused:
        error = answer.json()["error"]
        assert "there is no parameter 'model'" in (error if isinstance(error, str) else error["message"])
    assert [box["class_id"] for box in answered.json()["boxes"]] == [7]


def test_the_only_model_needs_no_name(run: Run) -> None:
    answer = asked(run, lambda http: http.post("/detect", content=grey_picture(5)), models={"cars": {"model": "demo"}})
    assert answer.status_code == 200


def test_a_body_that_is_too_large_for_the_model_is_refused(run: Run) -> None:
    answer = asked(run, lambda http: http.post("/detect?model=ships", content=bytes(2000 * 32 + 1)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "picture_too_large")


def test_the_protocols_names_lead_to_their_model(run: Run) -> None:
    picture = {"name": "picture", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(b"x").decode()]}

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.get("/v2/models/cars"),  # the stand-in behind the catalogue has a name of its own
            await http.post("/v2/models/cars_raw/infer", json={"inputs": [picture]}),
            await http.get("/v2/models/planes/ready"),
            await http.get("/v2"),
            await http.get("/v2/health/ready"),
            await http.post("/v2/repository/index"),
            await http.get("/v2/models/stats"),
            await http.get("/v2/logging"),
        ]

    metadata, infer, unknown, server, ready, index, stats, other = asked(run, ask)
    assert metadata.json()["error"] == "unknown model 'cars'; served here: stand-in, stand-in_raw, each in version 1"
    assert "cars_raw" in infer.json()["error"]
    assert (unknown.status_code, unknown.json()) == (404, {"error": "unknown model 'planes'; served here: cars, ships"})
    assert (server.json()["name"], ready.status_code) == ("azaion-engine", 200)
    assert [entry["name"] for entry in index.json()] == ["cars", "cars_raw", "ships", "ships_raw"]
    assert [entry["name"] for entry in stats.json()["model_stats"]] == ["stand-in", "stand-in_raw"] * 2
    assert other.status_code == 404


def test_the_list_tells_the_state_of_each_model_and_why_one_is_not_served(run: Run) -> None:
    def break_one(held: CataloguedReplica) -> None:
        said = (
            "failed 3 times. Error:\n\x1b[36mTraceback\n  x\nazaion_engine.errors.ModelError: it is no detector\x1b[0m"
        )
        held.serve.status["several.ships"] = (ApplicationStatus.DEPLOY_FAILED, said)

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.get("/models"),
            await http.get("/readyz"),
            await http.get("/v2/health/ready"),
            await http.post("/detect?model=ships", content=grey_picture(1)),
            await http.get("/models?x=1"),
        ]

    listed, ready, all_ready, refused, odd = asked(run, ask, break_one)
    cars, ships = listed.json()["models"]
    assert (cars["name"], cars["state"], cars["path"], cars["replicas"]) == ("cars", "serving", "/models/cars", 1)
    assert len(cars["version"]) == 12
    assert [entry["state"] for entry in cars["history"]] == ["serving"]
    assert cars["card"]["name"] == "stand-in"
    assert (ships["state"], ships["card"]) == ("failed", None)
    assert ships["message"] == "azaion_engine.errors.ModelError: it is no detector"
    assert (ready.status_code, all_ready.status_code, odd.status_code) == (200, 503, 422)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    assert refused.headers["retry-after"] == "1"


def test_the_service_is_ready_when_no_model_is_starting(run: Run) -> None:
    def starting(held: CataloguedReplica) -> None:
        held.serve.status["several.ships"] = (ApplicationStatus.DEPLOYING, "")

    answer = asked(run, lambda http: http.get("/readyz"), starting)
    assert (answer.status_code, "starting: ships" in answer.json()["error"]["message"]) == (503, True)


def test_a_controller_that_starts_again_keeps_no_request_from_replicas_that_run(run: Run) -> None:
    def recovering(held: CataloguedReplica) -> None:
        for name in MODELS:
            held.serve.status[f"several.{name}"] = (ApplicationStatus.DEPLOYING, "")
            held.serve.replicas[f"several.{name}"] = "RECOVERING"

    async def ask(http: httpx.AsyncClient) -> list[int]:
        answers = [await http.post("/detect?model=cars", content=grey_picture(5)), await http.get("/readyz")]
        return [answer.status_code for answer in answers]

    assert asked(run, ask, recovering) == [200, 200]


@pytest.mark.parametrize(
    ("error", "code"),
    [(BackPressureError(1, 1), "overloaded"), (RayActorError(), "model_unavailable")],
    ids=["full", "ended"],
)
def test_a_replica_that_cannot_take_a_request_is_a_503(run: Run, error: Exception, code: str) -> None:
    def fail(held: CataloguedReplica) -> None:
        held.handles["cars"].fails = error

    answer = asked(run, lambda http: http.post("/detect?model=cars", content=grey_picture(5)), fail)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, code)


def test_keys_are_asked_for_and_their_pictures_counted_once(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = add_key(file, daily=2)

    async def ask(http: httpx.AsyncClient) -> list[int]:
        known = {"X-API-Key": secret}
        answers = [await http.get("/models"), await http.get("/models", headers=known)]
        for _ in range(3):
            answers.append(await http.post("/detect?model=cars", content=grey_picture(5), headers=known))
        return [answer.status_code for answer in answers]

    assert asked(run, ask, access={"keys_file": str(file)}) == [401, 200, 200, 200, 429]


@pytest.mark.parametrize(("models", "seen"), [(("cars",), ["cars"]), (None, ["cars", "ships"])])
def test_a_key_is_told_of_its_own_models_alone(
    run: Run, tmp_path: Path, models: tuple[str, ...] | None, seen: list[str]
) -> None:
    file = tmp_path / "keys.json"
    known = {"X-API-Key": add_key(file, models=models)}

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.get("/models", headers=known),
            await http.post("/v2/repository/index", headers=known),
            await http.head("/models", headers=known),
        ]

    listed, index, head = asked(run, ask, access={"keys_file": str(file)})
    assert [entry["name"] for entry in listed.json()["models"]] == seen
    assert [entry["name"] for entry in index.json()] == [each for name in seen for each in (name, f"{name}_raw")]
    assert head.headers["content-length"] == listed.headers["content-length"]


def _break_ships(held: CataloguedReplica) -> None:
    held.serve.status["several.ships"] = (ApplicationStatus.DEPLOY_FAILED, "/secret/ships.onnx is no detector")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/detect", 422),
        ("GET", "/model", 422),
        ("POST", "/detect?model=cars&model=ships", 422),
        ("POST", "/detect?model=planes", 404),
        ("GET", "/models/planes/model", 404),
        ("GET", "/v2/models/planes", 404),
        ("POST", "/detect?model=ships", 403),
        ("GET", "/models/ships/model", 403),
        ("GET", "/v2/models/ships_raw", 403),
        ("GET", "/v2/models/stats", 200),
        ("GET", "/readyz", 200),
        ("GET", "/v2/health/ready", 503),
    ],
)
def test_no_answer_tells_a_key_of_models_that_it_is_not_for(
    run: Run, tmp_path: Path, method: str, path: str, status: int
) -> None:
    known = {"X-API-Key": add_key(tmp_path / "keys", models=("cars",))}
    access = {"keys_file": str(tmp_path / "keys")}
    answer = asked(run, lambda http: http.request(method, path, headers=known), _break_ships, access=access)
    assert answer.status_code == status
    assert ("ships" in answer.text) == (status == 403)  # the name that was sent
    assert not {"failed", "/secret", "detector"} & set(answer.text.replace("'", " ").split())
    if status == 422 or "planes" in path:
        assert "cars" in answer.text


def test_a_probe_of_a_model_is_told_without_a_key_that_it_is_not_served_and_with_one_why(
    run: Run, tmp_path: Path
) -> None:
    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        headers = {"X-API-Key": secret}
        return [await http.get("/models/ships/readyz"), await http.get("/models/ships/model", headers=headers)]

    secret = add_key(tmp_path / "keys")
    bare, full = asked(run, ask, _break_ships, access={"keys_file": str(tmp_path / "keys")})
    assert (bare.status_code, full.status_code) == (503, 503)
    assert bare.json()["error"]["message"] == "the model 'ships' is not served now"
    assert "(failed): /secret/ships.onnx is no detector" in full.json()["error"]["message"]


def test_the_only_model_is_not_named_to_a_key_for_others(run: Run, tmp_path: Path) -> None:
    known = {"X-API-Key": add_key(tmp_path / "keys", models=("cars",))}
    answer = asked(
        run,
        lambda http: http.post("/detect", content=grey_picture(5), headers=known),
        models={"ships": {"model": "demo"}},
        access={"keys_file": str(tmp_path / "keys")},
    )
    assert (answer.status_code, "ships" in answer.text) == (422, False)


def test_a_model_of_another_key_adds_nothing_to_the_statistics(run: Run, tmp_path: Path) -> None:
    known = {"X-API-Key": add_key(tmp_path / "keys", models=("cars",))}
    access = {"keys_file": str(tmp_path / "keys")}
    answer = asked(run, lambda http: http.get("/v2/models/stats", headers=known), access=access)
    assert len(answer.json()["model_stats"]) == 2  # of cars and its raw input


@pytest.mark.parametrize("status", [ApplicationStatus.DEPLOYING, ApplicationStatus.DEPLOY_FAILED])
def test_a_probe_without_a_key_names_no_model(run: Run, tmp_path: Path, status: ApplicationStatus) -> None:
    def away(held: CataloguedReplica) -> None:
        for name in ("cars", "ships"):
            held.serve.status[f"several.{name}"] = (status, "/secret/ships.onnx is no detector")

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [await http.get(path) for path in ("/readyz", "/v2/health/ready", "/models/planes/readyz")]

    add_key(tmp_path / "keys")
    answers = asked(run, ask, away, access={"keys_file": str(tmp_path / "keys")})
    assert [answer.status_code for answer in answers] == [503, 503, 404]
    for answer in answers:
        assert not any(word in answer.text for word in ("cars", "ships", "secret"))


@pytest.mark.parametrize(
    "path",
    ["/readyz", "/healthz", "/v2/health/ready", "/v2/health/live", "/", "/page/page.js", "/docs", "/openapi.json"],
)
def test_what_needs_no_key_of_a_service_needs_none_of_a_model_behind_the_catalogue(
    run: Run, tmp_path: Path, path: str
) -> None:
    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [await http.request(method, f"/models/cars{path}") for method in ("GET", "HEAD", "POST")]

    add_key(tmp_path / "keys")
    got, head, posted = asked(run, ask, access={"keys_file": str(tmp_path / "keys")})
    assert (got.status_code, head.status_code, posted.status_code) == (200, 200, 401)


@pytest.mark.parametrize(
    "path",
    ["/models/cars/model", "/models/cars/models/cars/readyz", "/models/cars/v2/models/cars/ready", "/models/cars"],
)
def test_everything_else_of_a_model_wants_a_key(run: Run, tmp_path: Path, path: str) -> None:
    add_key(tmp_path / "keys")
    answer = asked(run, lambda http: http.get(path), access={"keys_file": str(tmp_path / "keys")})
    assert answer.status_code == 401


def test_a_body_that_comes_without_a_key_is_not_read(run: Run, tmp_path: Path) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    async def scenario() -> None:
        headers = [(b"content-length", b"1000000")]
        scope = {"type": "http", "method": "GET", "path": "/models/cars/readyz", "query_string": b"", "root_path": ""}
        await create_catalog_api()({**scope, "headers": headers}, receive, send)

    add_key(tmp_path / "keys")
    access = {"keys_file": str(tmp_path / "keys")}
    with catalogued(ApplicationSettings.model_validate({"models": MODELS, "engine": "onnx", "access": access})):
        run(scenario())
    assert sent[0]["status"] == 200


def test_the_page_and_the_documentation_are_answered(run: Run) -> None:
    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [await http.get(path) for path in ("/", "/docs", "/openapi.json", "/healthz")]

    page, docs, document, alive = asked(run, ask)
    assert {answer.status_code for answer in (page, docs, document, alive)} == {200}
    assert "<body data-models>" in page.text
    assert {"/models", "/detect"} <= document.json()["paths"].keys()


def test_the_list_tells_which_of_the_models_that_are_rarely_used_are_loaded(run: Run) -> None:
    rare = {name: {"model": "demo", "rarely_used": True} for name in ("boats", "kites", "gliders")}

    def report(held: CataloguedReplica) -> None:
        away = CacheReport(state="not_loaded")
        loaded = CacheReport(state="loaded", load_s=1.5, version="abc", card={"name": "boats"})
        failed = CacheReport(state="failed", message="it is no detector")
        held.handles["_rarely_used"].reports = [
            {"boats": away, "kites": away, "gliders": failed},
            RayActorError(),
            {"boats": loaded, "kites": away, "gliders": away},
        ]

    async def ask(http: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await http.get("/models"),
            await http.get("/readyz"),
            await http.get("/v2/models/stats"),
            await http.post("/models/kites/detect", content=grey_picture(5)),
            await http.post("/v2/repository/index"),
        ]

    listed, ready, stats, answer, index = asked(run, ask, report, {"cars": {"model": "demo"}, **rare})
    cars, boats, kites, gliders = listed.json()["models"]
    assert (cars["loaded"], cars["load_s"], cars["card"]["name"]) == (None, None, "stand-in")
    assert (boats["state"], boats["loaded"], boats["load_s"], boats["card"]) == (
        "serving",
        True,
        1.5,
        {"name": "boats"},
    )
    assert (kites["state"], kites["loaded"], kites["card"], kites["path"]) == ("serving", False, None, "/models/kites")
    assert (gliders["state"], gliders["message"]) == ("failed", "it is no detector")
    assert [(each["state"], each["message"]) for each in gliders["history"]] == [("failed", "it is no detector")]
    assert [each["state"] for each in kites["history"]] == ["serving"]
    assert {each["name"]: (each["state"], each["reason"]) for each in index.json()} == {
        **{f"{name}{raw}": ("READY", "") for name in ("cars", "boats", "kites") for raw in ("", "_raw")},
        **{f"gliders{raw}": ("UNAVAILABLE", "it is no detector") for raw in ("", "_raw")},
    }
    assert (ready.status_code, answer.status_code) == (200, 200)
    assert len(stats.json()["model_stats"]) == 4  # of the two in memory: no model is loaded for its statistics
