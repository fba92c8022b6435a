"""ModelCache: loading on demand, what waiting requests get, and which model makes room."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from azaion_engine.errors import ConfigurationError, ModelError
from deployments.errors import ModelUnavailableError, OverloadedError
from deployments.multiplexing.model_cache import ModelCache

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Model:
    """A service as the cache sees it."""

    def __init__(self, name: str) -> None:
        self.name, self.version = name, f"{name}-1"
        self.retired = False

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def check_health(self) -> None:
        pass

    def retire(self) -> None:
        assert not self.retired
        self.retired = True


class Models:
    """Opens models, each of 10 bytes, unless they are told otherwise; records what happens."""

    def __init__(self, most: int = 2, limit: int | None = None, **given: Any) -> None:
        self.opened: list[str] = []
        self.open: dict[str, Model] = {}
        self.events: list[tuple[str, str]] = []
        self.sizes: dict[str, int] = {}
        self.may_open = threading.Event()
        self.may_open.set()
        self.fails: Exception | None = None
        self.needs_alone = ""
        self.limit = limit
        self.cache = ModelCache(
            "abcd",
            self._open,  # type: ignore[arg-type]
            most,
            **{"most_waiting": 100, **given},
            memory=self if limit is not None else None,
            on_event=lambda model, event, seconds: self.events.append((model, event)),
        )

    def _open(self, name: str) -> Model:
        self.opened.append(name)
        assert self.may_open.wait(20)
        if self.needs_alone == name and any(not model.retired for model in self.open.values()):
            raise ConfigurationError("model: cuMemAlloc failed: out of memory")
        if self.fails is not None:
            raise self.fails
        self.open[name] = Model(name)
        return self.open[name]

    def excess(self, more: int = 0) -> int:
        assert self.limit is not None
        held = sum(self.sizes.get(name, 10) for name, model in self.open.items() if not model.retired)
        return held + more - self.limit

    @property
    def loaded(self) -> str:
        return "".join(name for name, report in self.cache.reports().items() if report.state == "loaded")

    async def ask(self, name: str, timeout_s: float = 20.0) -> float:
        async with self.cache.hold(name, timeout_s) as held:
            assert held.service is self.open[name]  # type: ignore[comparison-overlap]
            assert not self.open[name].retired
            return held.waited_s


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(1000):
        if reached():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("not reached")


def test_a_model_is_opened_by_its_first_request_and_once_for_many(run: Run) -> None:
    async def scenario() -> None:
        models = Models()
        assert models.loaded == ""
        waited = await asyncio.gather(*(models.ask("a") for _ in range(20)))
        assert min(waited) > 0
        assert await models.ask("a") == 0
        assert (models.opened, models.loaded) == (["a"], "a")

    run(scenario())


def test_the_least_recently_used_model_makes_room(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most=2)
        for name in "abac":
            await models.ask(name)
        assert models.loaded == "ac"
        assert models.open["b"].retired
        await models.ask("d")
        assert models.loaded == "cd"
        assert models.events[-2:] == [("a", "closed"), ("d", "loaded")]

    run(scenario())


def test_memory_bounds_the_models_too_and_a_known_size_is_made_room_for_before_opening(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most=4, limit=30)
        for name in "abcd":
            await models.ask(name)
        await until(lambda: models.loaded == "bcd")  # its size was not known: it was over the bound for a moment
        del models.events[:]
        await models.ask("a")
        assert models.events == [("b", "closed"), ("a", "loaded")]
        models.sizes["b"] = 31
        await models.ask("b")
        await until(lambda: models.loaded == "b")  # alone, although it is beyond the bound

    run(scenario())


def test_a_model_for_which_the_memory_does_not_suffice_is_opened_when_others_have_made_room(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most=4)
        models.needs_alone = "d"
        for name in "abd":
            await models.ask(name)
        assert models.loaded == "d"
        assert models.opened == ["a", "b", "d", "d", "d"]
        models.fails = ConfigurationError("out of memory")
        with pytest.raises(ModelUnavailableError, match="out of memory"):
            await models.ask("a")  # not even alone

    run(scenario())


def test_a_model_that_a_request_holds_is_closed_when_the_request_is_over(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most=1)
        async with models.cache.hold("a", 20) as held:
            other = asyncio.create_task(models.ask("b"))
            await asyncio.sleep(0.05)
            assert not models.open["a"].retired
            again = asyncio.create_task(models.ask("a"))  # arrives while it is about to close
            await asyncio.sleep(0.05)
            assert held.service is models.open["a"]  # type: ignore[comparison-overlap]
            first = models.open["a"]
        await asyncio.gather(other, again)
        assert first.retired
        assert models.opened == ["a", "b", "a"]
        assert models.loaded == "a"

    run(scenario())


def test_of_two_models_in_a_place_for_one_every_request_is_answered(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most=1)
        await asyncio.gather(*(models.ask(name) for _ in range(30) for name in "ab"))
        assert sorted(set(models.opened)) == ["a", "b"]
        await asyncio.gather(*(models.ask(name) for _ in range(30) for name in "abcd"))

    run(scenario())


def test_a_request_that_waits_in_vain_is_told_how_long_and_the_opening_goes_on(run: Run) -> None:
    async def scenario() -> None:
        models = Models()
        models.may_open.clear()
        with pytest.raises(ModelUnavailableError, match=r"'a' is rarely used and has been loading for 0 s") as refused:
            await models.ask("a", 0.05)
        assert refused.value.retry_after_s == 1
        with pytest.raises(ModelUnavailableError, match="waits until another model is loaded"):
            await models.ask("b", 0.05)
        cancelled = asyncio.create_task(models.ask("a"))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        models.may_open.set()
        assert 0 < await models.ask("a") < 5
        await until(lambda: models.loaded == "ab")
        assert models.opened == ["a", "b"]
        assert await models.ask("b") == 0
        assert cancelled.cancelled()

    run(scenario())


def test_a_cancelled_request_leaves_no_user_behind(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most=1)
        models.may_open.clear()
        waiting = [asyncio.create_task(models.ask("a")) for _ in range(5)]
        await asyncio.sleep(0.05)
        models.may_open.set()
        entry = models.cache._models["a"]
        await until(lambda: entry.service is not None)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert entry.users == 0
        await asyncio.wait_for(models.ask("b"), 5)  # nobody holds the other one

    run(scenario())


def test_a_model_that_cannot_be_opened_is_told_at_once_until_it_is_tried_again(run: Run) -> None:
    async def scenario() -> None:
        models = Models(again_s=0.2)
        models.fails = ModelError("it is no detector")
        for _ in range(2):
            with pytest.raises(ModelUnavailableError, match="'a' could not be loaded: it is no detector") as refused:
                await models.ask("a")
            assert refused.value.retry_after_s == 1
        assert models.opened == ["a"]
        report = models.cache.reports()["a"]
        assert (report.state, report.message) == ("failed", "it is no detector")
        models.fails = None
        await models.ask("b")
        await asyncio.sleep(0.25)
        await models.ask("a")
        assert models.loaded == "ab"
        assert models.events == [("a", "failed"), ("b", "loaded"), ("a", "loaded")]

    run(scenario())


def test_a_model_that_could_not_be_opened_has_not_failed_in_another_version(run: Run) -> None:
    async def scenario() -> None:
        models = Models()
        models.fails = ModelError("it is no detector")
        with pytest.raises(ModelUnavailableError):
            await models.ask("a")
        models.fails = None
        await models.cache.drop("a", keep="a-2")
        assert models.cache.reports()["a"].state == "not_loaded"
        await models.ask("a")
        assert models.loaded == "a"

    run(scenario())


def test_no_more_requests_wait_for_a_model_than_may(run: Run) -> None:
    async def scenario() -> None:
        models = Models(most_waiting=2)
        models.may_open.clear()
        waiting = [asyncio.create_task(models.ask("a")) for _ in range(2)]
        await asyncio.sleep(0.02)
        with pytest.raises(OverloadedError, match="2 requests wait until the model 'a' is loaded"):
            await models.ask("a")
        models.may_open.set()
        await asyncio.gather(*waiting)

    run(scenario())


def test_a_dropped_model_is_opened_anew_unless_it_is_the_version_to_keep(run: Run) -> None:
    async def scenario() -> None:
        models = Models()
        await models.ask("a")
        await models.cache.drop("a", keep="a-1")
        assert models.loaded == "a"
        await models.cache.drop("a", keep="a-2")
        assert models.loaded == ""
        await models.ask("a")
        assert models.opened == ["a", "a"]

    run(scenario())


def test_a_dropped_model_does_not_fail_because_the_version_before_did(run: Run) -> None:
    async def scenario() -> None:
        models = Models()
        models.may_open.clear()
        models.fails = ConfigurationError("version 1 is broken")
        waiting = asyncio.create_task(models.ask("a"))
        await asyncio.sleep(0.02)
        dropping = asyncio.create_task(models.cache.drop("a", keep="a-2"))
        await asyncio.sleep(0.02)
        models.may_open.set()
        with pytest.raises(ModelUnavailableError):
            await waiting
        await dropping
        assert models.cache.reports()["a"].message == ""
        models.fails = None
        await models.ask("a")

    run(scenario())


def test_closing_closes_every_model_also_one_that_is_being_opened(run: Run) -> None:
    async def scenario() -> None:
        models = Models()
        await models.ask("a")
        models.may_open.clear()
        waiting = asyncio.create_task(models.ask("b", 0.2))
        await asyncio.sleep(0.05)
        models.cache.close()
        with pytest.raises(ModelUnavailableError):
            await waiting
        models.may_open.set()
        await until(lambda: "b" in models.open and models.open["b"].retired)
        assert models.open["a"].retired
        with pytest.raises(ModelUnavailableError, match="ending"):
            await models.ask("c")

    started = time.monotonic()
    run(scenario())
    assert time.monotonic() - started < 15
