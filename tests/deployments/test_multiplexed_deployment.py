"""Replicas of models that are rarely used: what their requests get, before, while and after a model is loaded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from azaion_engine.detector import Detector
from azaion_engine.errors import ModelError
from deployments.catalog.records import Record
from deployments.settings import ServiceSettings
from deployments.versions.version import Version, Wanted
from tests.deployments.access.keys_made import add_key
from tests.deployments.catalogued import DictStore
from tests.deployments.multiplexed import Multiplexed, multiplexed, settings_of, told
from tests.stand_in import grey_picture, open_stand_in

Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def loaded(held: Multiplexed) -> list[str]:
    return [name for name, report in (await held.replica.reports()).items() if report.state == "loaded"]


def test_the_first_request_loads_its_model_and_tells_the_wait(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        assert await loaded(held) == []
        first, second, other = [await held.ask(name) for name in ("cars", "cars", "ships")]
        assert [told(each)["model"]["name"] for each in (first, second, other)] == ["cars", "cars", "ships"]
        assert [box["class_id"] for box in told(first)["boxes"]] == [7]
        waited = dict(first.headers)[b"server-timing"]
        assert waited.startswith(b"load;dur=")
        assert b"server-timing" not in dict(second.headers)
        assert [each.model for each in held.opened] == ["cars.onnx", "ships.onnx"]
        report = (await held.replica.reports())["cars"]
        assert report.card["name"] == "cars"
        assert report.load_s is not None

    with multiplexed(settings_of("cars", "ships")) as held:
        run(scenario(held))


def test_pictures_of_a_loaded_model_run_in_common_batches_and_never_with_another_models(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        answers = await asyncio.gather(
            *(held.ask(name, body=grey_picture(value)) for value in range(1, 20) for name in ("cars", "ships"))
        )
        found = [(told(each)["model"]["name"], told(each)["boxes"][0]["class_id"]) for each in answers]
        assert found == [(name, value) for value in range(1, 20) for name in ("cars", "ships")]

    with multiplexed(settings_of("cars", "ships", each={"batch_size": 4})) as held:
        run(scenario(held))


def test_every_kind_of_request_to_a_model_works_and_probes_and_documents_load_none(run: Run) -> None:
    async def scenario(held: Multiplexed) -> None:
        for path in ("/readyz", "/healthz", "/v2/health/ready", "/docs", "/openapi.json", "/"):
            assert (await held.ask("cars", path, method="GET")).status == 200
        assert held.opened == []
        card = await held.ask("cars", "/model", method="GET")
        assert told(card)["name"] == "cars"
        metadata = await held.ask("ships", "/v2/models/ships_raw", method="GET")
        assert told(metadata)["name"] == "ships_raw"
        assert (await held.ask("ships", "/nothing", method="GET")).status == 404

    with multiplexed(settings_of("cars", "ships")) as held:
        run(scenario(held))


def test_a_load_that_takes_longer_than_the_timeout_is_a_503_that_says_so_and_the_next_request_finds_it(
    run: Run,
) -> None:
    may_open = threading.Event()

    def open_late(settings: ServiceSettings) -> Detector:
        may_open.wait(20)
        return open_stand_in(settings)

    async def scenario(held: Multiplexed) -> None:
        answers = await asyncio.gather(*(held.ask("cars") for _ in range(3)), held.ask("cars", "/v2/models/cars"))
        assert {each.status for each in answers} == {503}
        assert dict(answers[0].headers)[b"retry-after"] == b"1"
        error = told(answers[0])["error"]
        assert error["code"] == "model_unavailable"
        assert "'cars' is rarely used and has been loading for 0 s" in error["message"]
        assert told(answers[3])["error"] == error["message"]  # the protocol's shape
        may_open.set()
        assert (await held.ask("cars")).status == 200
        assert len(held.opened) == 1

    with multiplexed(settings_of("cars", each={"timeout_s": 0.3}), open_late) as held:
        run(scenario(held))


def test_a_model_that_cannot_be_loaded_is_a_503_with_the_reason_and_leaves_the_others(run: Run) -> None:
    def open_some(settings: ServiceSettings) -> Detector:
        if settings.model == "broken.onnx":
            raise ModelError("broken.onnx is no detector")
        return open_stand_in(settings)

    async def scenario(held: Multiplexed) -> None:
        for _ in range(2):
            refused = await held.ask("broken")
            assert refused.status == 503
            assert "'broken' could not be loaded: broken.onnx is no detector" in told(refused)["error"]["message"]
        assert (await held.ask("cars")).status == 200
        assert len(held.opened) == 2
        assert (await held.replica.reports())["broken"].message == "broken.onnx is no detector"

    with multiplexed(settings_of("cars", "broken"), open_some) as held:
        run(scenario(held))


def test_a_picture_whose_model_cannot_be_loaded_is_counted_among_the_rejected(run: Run) -> None:
    def open_none(settings: ServiceSettings) -> Detector:
        raise ModelError("no detector")

    async def scenario(held: Multiplexed) -> None:
        for path in ("/detect", "/v2/models/broken/infer"):
            assert (await held.ask("broken", path)).status == 503
        counted = [call.args[0] for call in held.replica._front.metrics.request_over.call_args_list]
        assert [(each.route, each.rejected) for each in counted] == [
            ("/detect", ["model_unavailable"]),
            ("/v2", ["model_unavailable"]),
        ]

    with multiplexed(settings_of("broken"), open_none) as held:
        run(scenario(held))


def test_no_model_is_loaded_for_a_request_without_a_key_for_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = add_key(file, models=["cars"], daily=2)

    async def scenario(held: Multiplexed) -> None:
        key = {"X-API-Key": secret}
        assert (await held.ask("cars")).status == 401
        forbidden = await held.ask("ships", headers=key)
        assert (forbidden.status, told(forbidden)["error"]["code"]) == (403, "model_forbidden")
        assert held.opened == []
        assert [(await held.ask("cars", headers=key)).status for _ in range(3)] == [200, 200, 429]

    with multiplexed(settings_of("cars", "ships", access={"keys_file": str(file)})) as held:
        run(scenario(held))


def test_the_version_that_is_wanted_is_loaded_and_a_new_one_replaces_it_when_it_is_checked(run: Run) -> None:
    old, new, bad = (
        Version(model=f"{name}.onnx", sha256=digit * 64) for name, digit in (("o", "a"), ("n", "b"), ("x", "c"))
    )
    store = DictStore()
    checked: list[str] = []

    def check(settings: ServiceSettings, unwanted: threading.Event) -> None:
        checked.append(settings.model)
        if settings.model == "x.onnx":
            raise ModelError("no detector")

    async def settled(held: Multiplexed, wanted: Wanted, of: Version) -> Any:
        for _ in range(400):
            _, reports = await held.replica.follow("cars", wanted)
            if reports[of.id].state != "opening":
                return reports[of.id]
            await asyncio.sleep(0.01)
        raise AssertionError(reports)

    async def scenario(held: Multiplexed) -> None:
        held.records.put("several.cars", Record.first(old, old))
        assert told(await held.ask("cars"))["model"]["version"] == old.id
        assert (await settled(held, Wanted(serving=old, candidate=bad), bad)).message == "no detector"
        assert (await settled(held, Wanted(serving=old, candidate=new), new)).state == "open"
        assert told(await held.ask("cars"))["model"]["version"] == old.id
        record = held.records.get("several.cars")
        assert record is not None
        held.records.put("several.cars", record.model_copy(update={"wanted": Wanted(serving=new)}))
        assert (await held.replica.follow("cars", Wanted(serving=new)))[0] == new.id
        for _ in range(400):
            if not await loaded(held):
                break
            await asyncio.sleep(0.01)
        assert told(await held.ask("cars"))["model"]["version"] == new.id
        await held.replica.keep({"cars": new.id})
        await asyncio.sleep(0.05)
        assert await loaded(held) == ["cars"]
        assert [each.model for each in held.opened] == ["o.onnx", "n.onnx"]
        assert checked == ["x.onnx", "n.onnx"]

    with multiplexed(settings_of("cars"), check=check, store=store) as held:
        run(scenario(held))


def test_a_lost_engine_makes_the_replica_unhealthy(run: Run) -> None:
    from azaion_engine.errors import GpuLostError
    from tests.stand_in import LOST

    async def scenario(held: Multiplexed) -> None:
        await held.replica.check_health()
        assert (await held.ask("cars", body=grey_picture(LOST))).status == 503
        try:
            await held.replica.check_health()
        except GpuLostError:
            return
        raise AssertionError("it is healthy")

    with multiplexed(settings_of("cars")) as held:
        run(scenario(held))
