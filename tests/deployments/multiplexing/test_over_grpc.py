"""Models that are rarely used over gRPC: which one a message means, when it is loaded, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request as HttpRequest

from azaion_engine.detector import Detector
from azaion_engine.errors import ModelError
from deployments.frontends.open_inference.generated import grpc_service_pb2 as protocol
from deployments.settings import ServiceSettings
from tests.deployments.access.keys_made import add_key
from tests.deployments.in_process import GrpcContext
from tests.deployments.multiplexed import Multiplexed, multiplexed, settings_of, told
from tests.stand_in import grey_picture, open_stand_in

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Input = protocol.ModelInferRequest.InferInputTensor
WITHOUT_A_MODEL = ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex", "ModelStatistics")


def infer(model: str, *values: int) -> Any:
    contents = protocol.InferTensorContents(bytes_contents=[grey_picture(value) for value in values or (7,)])
    tensor = Input(name="picture", datatype="BYTES", shape=[len(values or (7,))], contents=contents)
    return protocol.ModelInferRequest(model_name=model, inputs=[tensor])


def classes(answer: Any) -> list[int]:
    tensors = dict(zip([output.name for output in answer.outputs], answer.raw_output_contents, strict=True))
    found: list[int] = np.frombuffer(tensors["class_ids"], "<i4").tolist()
    return found


def code(context: GrpcContext) -> str | None:
    return None if context.code is None else context.code.name


def asked(run: Run, scenario: Callable[[Multiplexed], Coroutine[Any, Any, None]], *models: str, **given: Any) -> None:
    opener = given.pop("opener", open_stand_in)
    with multiplexed(settings_of(*models, **given), opener) as held:
        run(scenario(held))


def test_the_first_call_loads_the_model_of_its_message_and_tells_the_wait(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        answer, first = await held.call("ModelInfer", infer("cars", 5))
        assert (answer.model_name, classes(answer)) == ("cars", [5])
        [(name, waited)] = first.trailing
        assert name == "server-timing"
        assert waited.startswith("load;dur=")
        answer, second = await held.call("ModelInfer", infer("cars", 6))
        assert (classes(answer), second.trailing) == ([6], [])
        answer, _ = await held.call("ModelInfer", infer("ships", 7))
        assert (answer.model_name, classes(answer)) == ("ships", [7])
        assert [each.model for each in held.opened] == ["cars.onnx", "ships.onnx"]

    asked(run, scenario, "cars", "ships")


def test_every_method_that_names_a_model_works_for_both_of_its_names(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        for name in ("cars", "ships_raw"):
            metadata, _ = await held.call("ModelMetadata", protocol.ModelMetadataRequest(name=name))
            assert metadata.name == name
            config, _ = await held.call("ModelConfig", protocol.ModelConfigRequest(name=name))
            assert config.config.name == name
            ready, _ = await held.call("ModelReady", protocol.ModelReadyRequest(name=name))
            assert ready.ready
            statistics, _ = await held.call("ModelStatistics", protocol.ModelStatisticsRequest(name=name))
            assert [each.name for each in statistics.model_stats] == [name]
        row = protocol.InferTensorContents(fp32_contents=np.full(3 * 32 * 32, 7 / 255, np.float32).tolist())
        tensor = Input(name="images", datatype="FP32", shape=[1, 3, 32, 32], contents=row)
        answer, _ = await held.call("ModelInfer", protocol.ModelInferRequest(model_name="ships_raw", inputs=[tensor]))
        assert np.frombuffer(answer.raw_output_contents[0], "<f4")[5] == 7
        assert [each.model for each in held.opened] == ["cars.onnx", "ships.onnx"]

    asked(run, scenario, "cars", "ships")


def test_a_model_has_its_calls_until_they_are_answered_while_others_need_its_place(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        names = [name for _ in range(8) for name in ("cars", "ships")]
        calls = [held.call("ModelInfer", infer(name, value)) for value, name in enumerate(names, 1)]
        answers = [answer for answer, _ in await asyncio.gather(*calls)]
        assert [(each.model_name, *classes(each)) for each in answers] == [
            (name, value) for value, name in enumerate(names, 1)
        ]

    asked(run, scenario, "cars", "ships", loaded=1)


@pytest.mark.parametrize(
    ("message", "model_id", "refused", "words"),
    [
        (infer("planes"), "", "NOT_FOUND", "unknown model 'planes'; served by the application several._rarely_used: "),
        (infer("planes"), "", "NOT_FOUND", ": cars, ships; other models have applications of their own, several.NAME"),
        (infer(""), "", "INVALID_ARGUMENT", "the message names no model; served by the application several._rarely"),
        (infer("cars"), "ships", "INVALID_ARGUMENT", "names the model 'cars', the metadata multiplexed_model_id 'shi"),
        (infer("cars"), "planes", "INVALID_ARGUMENT", "multiplexed_model_id 'planes': expected the same"),
        (b"\xff\xff\xff", "", "INVALID_ARGUMENT", "the message is malformed"),
    ],
)
def test_a_message_about_no_model_or_another_one_is_refused_and_loads_none(
    run: Run, message: Any, model_id: str, refused: str, words: str
) -> None:
    async def scenario(held: Multiplexed) -> None:
        _, context = await held.call("ModelInfer", message, model_id)
        assert code(context) == refused
        assert words in context.details
        assert held.opened == []

    asked(run, scenario, "cars", "ships")


def test_serves_own_model_id_may_be_given_too(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        answer, _ = await held.call("ModelInfer", infer("cars"), "cars")
        assert answer.model_name == "cars"
        _, context = await held.call("ModelMetadata", protocol.ModelMetadataRequest(name="cars_raw"), "cars")
        assert context.code is None

    asked(run, scenario, "cars", "ships")


def test_what_is_about_the_server_loads_no_model_and_tells_of_all(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        answers = {method: (await held.call(method, b""))[0] for method in WITHOUT_A_MODEL}
        assert held.opened == []
        assert answers["ServerLive"].live
        assert answers["ServerReady"].ready
        assert answers["ServerMetadata"].name == "azaion-engine"
        both = [(name, "READY") for name in ("cars", "cars_raw", "ships", "ships_raw")]
        assert [(each.name, each.state) for each in answers["RepositoryIndex"].models] == both
        assert list(answers["ModelStatistics"].model_stats) == []
        await held.call("ModelInfer", infer("ships"))
        statistics, _ = await held.call("ModelStatistics", b"")
        counts = {each.name: each.inference_stats.success.count for each in statistics.model_stats}
        assert counts == {"ships": 1, "ships_raw": 0}

    asked(run, scenario, "cars", "ships")


def test_the_index_says_which_model_could_not_be_loaded(run: Run) -> None:
    def open_some(settings: ServiceSettings) -> Detector:
        if settings.model == "broken.onnx":
            raise ModelError("broken.onnx is no detector")
        return open_stand_in(settings)

    async def scenario(held: Multiplexed) -> None:
        for model in ("broken", "cars"):
            await held.call("ModelInfer", infer(model))
        index, _ = await held.call("RepositoryIndex", b"")
        assert {each.name: (each.state, each.reason) for each in index.models} == {
            **dict.fromkeys(("cars", "cars_raw", "ships", "ships_raw"), ("READY", "")),
            **dict.fromkeys(("broken", "broken_raw"), ("UNAVAILABLE", "broken.onnx is no detector")),
        }

    asked(run, scenario, "broken", "cars", "ships", opener=open_some)


def test_no_model_is_loaded_for_a_call_without_a_key_for_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret, other = add_key(file, models=["cars"], daily=2), add_key(file, "other", models=["boats"])

    async def scenario(held: Multiplexed) -> None:
        for message in (infer("cars"), infer("planes"), b"\xff\xff no message"):
            _, context = await held.call("ModelInfer", message)
            assert code(context) == "UNAUTHENTICATED"
            assert "ships" not in context.details
        for method in WITHOUT_A_MODEL:
            _, context = await held.call(method, b"")
            assert code(context) == (None if method in ("ServerLive", "ServerReady") else "UNAUTHENTICATED")
        _, context = await held.call("ModelInfer", infer("ships"), x_api_key=secret)
        assert (code(context), "'ships'" in context.details) == ("PERMISSION_DENIED", True)
        for named, refused in (("planes", "NOT_FOUND"), ("", "INVALID_ARGUMENT")):
            _, context = await held.call("ModelInfer", infer(named), x_api_key=secret)
            assert (code(context), "cars" in context.details, "ships" in context.details) == (refused, True, False)
        _, context = await held.call("ModelInfer", infer("planes"), x_api_key=other)
        assert ": none that the key is for; other models" in context.details
        assert held.opened == []

    asked(run, scenario, "cars", "ships", access={"keys_file": str(file)})


def test_a_keys_limits_hold_and_it_learns_of_no_other_models_work(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    limited, full = add_key(file, models=["cars"], daily=2), add_key(file, "full")

    async def scenario(held: Multiplexed) -> None:
        for model in ("cars", "ships"):
            await held.call("ModelInfer", infer(model), x_api_key=full)
        codes = [code((await held.call("ModelInfer", infer("cars"), x_api_key=limited))[1]) for _ in range(3)]
        assert codes == [None, None, "RESOURCE_EXHAUSTED"]
        for key, names in ((limited, ["cars", "cars_raw"]), (full, ["cars", "cars_raw", "ships", "ships_raw"])):
            statistics, _ = await held.call("ModelStatistics", b"", x_api_key=key)
            assert [each.name for each in statistics.model_stats] == names
            index, _ = await held.call("RepositoryIndex", b"", x_api_key=key)
            assert [each.name for each in index.models] == names

    asked(run, scenario, "cars", "ships", access={"keys_file": str(file)})


def test_a_load_that_takes_longer_than_the_timeout_is_unavailable_and_the_next_call_finds_the_model(run: Run) -> None:
    may_open = threading.Event()

    def open_late(settings: ServiceSettings) -> Detector:
        may_open.wait(20)
        return open_stand_in(settings)

    async def scenario(held: Multiplexed) -> None:
        _, context = await held.call("ModelInfer", infer("cars"))
        assert code(context) == "UNAVAILABLE"
        assert "'cars' is rarely used and has been loading for 0 s" in context.details
        assert context.trailing == [("retry-after", "1")]
        may_open.set()
        answer, _ = await held.call("ModelInfer", infer("cars"))
        assert answer.model_name == "cars"
        assert len(held.opened) == 1

    asked(run, scenario, "cars", opener=open_late, each={"timeout_s": 0.3})


def test_a_message_that_waits_for_its_model_counts_among_the_bodies_that_are_held(run: Run) -> None:
    may_open = threading.Event()

    def open_late(settings: ServiceSettings) -> Detector:
        may_open.wait(20)
        return open_stand_in(settings)

    async def scenario(held: Multiplexed) -> None:
        message = infer("cars")
        waiting = asyncio.create_task(held.call("ModelInfer", message))
        while not held.opened:
            await asyncio.sleep(0.01)
        assert held.replica.reception.held_bytes == message.ByteSize()
        may_open.set()
        assert (await waiting)[1].code is None
        assert held.replica.reception.held_bytes == 0

    asked(run, scenario, "cars", opener=open_late)


def test_a_message_is_bounded_by_the_model_that_it_names_or_by_little_if_by_none(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        large = Input(name="images", datatype="FP32", shape=[1], contents={"fp32_contents": [0.0] * 2_000_000})
        _, context = await held.call("ModelInfer", protocol.ModelInferRequest(model_name="cars_raw", inputs=[large]))
        assert code(context) == "INVALID_ARGUMENT"
        assert "fp32_contents has more than the 49152 numbers that the model takes" in context.details
        opened = len(held.opened)
        for method, large in (
            ("RepositoryIndex", protocol.RepositoryIndexRequest(repository_name="x" * 100_000)),
            ("ModelReady", protocol.ModelReadyRequest(name="ships", version="x" * 100_000)),
        ):
            _, context = await held.call(method, large)
            assert code(context) == "INVALID_ARGUMENT"
            assert "at most 65536 are accepted" in context.details
        assert len(held.opened) == opened

    asked(run, scenario, "cars", "ships")


def test_http_on_the_route_of_the_application_finds_nothing(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        route = "/models/_rarely_used"
        for path in ("/detect", "/v2/models/cars"):
            scope = {"type": "http", "method": "GET", "path": route + path, "root_path": route, "headers": []}
            answer = await held.replica(HttpRequest(scope))
            assert answer.status_code == 404
            assert answer.headers["x-content-type-options"] == "nosniff"
            error = told(answer)["error"]
            assert "no model has this route" in (error if path.startswith("/v2") else error["message"])
        assert held.opened == []

    asked(run, scenario, "cars")
