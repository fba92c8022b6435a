"""VersionChecks: each version is checked once, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from azaion_engine.errors import ModelError
from deployments.versions.version import Report, Version
from deployments.versions.version_checks import VersionChecks

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NEW = Version(model="new.onnx")


async def checked(checks: VersionChecks, model: str = "cars") -> Report:
    """Returns the report of a check that is over."""
    for _ in range(1000):
        if (report := checks.report(model, NEW)).state != "opening":
            return report
        await asyncio.sleep(0.005)
    raise AssertionError("the check does not end")


def test_a_version_is_checked_once_in_a_thread_of_its_own(run: Run) -> None:
    seen: list[tuple[str, str, bool]] = []

    def check(model: str, version: Version, unwanted: threading.Event) -> None:
        seen.append((model, version.id, threading.current_thread() is threading.main_thread()))

    async def scenario() -> None:
        checks = VersionChecks(check)
        assert checks.report("cars", NEW).state == "opening"
        assert await checked(checks) == await checked(checks) == Report(state="open")
        assert seen == [("cars", "new.onnx", False)]

    run(scenario())


@pytest.mark.parametrize(
    ("error", "message"), [(ModelError("no detector"), "no detector"), (MemoryError(), "MemoryError")]
)
def test_an_error_refuses_the_version_with_its_reason(run: Run, error: Exception, message: str) -> None:
    def check(model: str, version: Version, unwanted: threading.Event) -> None:
        raise error

    assert run(checked(VersionChecks(check))) == Report(state="failed", message=message)


def test_a_version_of_a_model_whose_checks_are_forgotten_is_checked_anew(run: Run) -> None:
    seen: list[str] = []

    async def scenario() -> None:
        checks = VersionChecks(lambda model, version, unwanted: seen.append(model))
        for model in ("cars", "boats"):
            await checked(checks, model)
        checks.forget("cars")
        for model in ("cars", "boats"):
            await checked(checks, model)
        assert seen == ["cars", "boats", "cars"]

    run(scenario())


class Waiting:
    """A check that goes on until its version is no longer wanted, except that of one file."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __call__(self, model: str, version: Version, unwanted: threading.Event) -> None:
        if version != NEW:
            assert unwanted.wait(20)
            self.ended.append(version.id)
            raise ModelError("it is no longer wanted")


def test_checks_of_versions_that_are_no_longer_wanted_end_and_keep_no_later_one_waiting(run: Run) -> None:
    waiting = Waiting()

    async def scenario() -> None:
        checks = VersionChecks(waiting)
        for number in range(10):
            assert checks.report("cars", Version(model=f"{number}.onnx")).state == "opening"
            await asyncio.sleep(0.02)
            checks.forget("cars")
        for model in ("boats", "cars"):  # the version after it is wanted, and this was not told
            checks.report(model, Version(model=f"{model}.onnx"))
        await asyncio.sleep(0.02)
        assert (await checked(checks, "boats")).state == (await checked(checks)).state == "open"

    run(scenario())
    assert waiting.ended[-2:] == ["boats.onnx", "cars.onnx"] or waiting.ended[-2:] == ["cars.onnx", "boats.onnx"]


def test_the_end_of_a_forgotten_check_is_not_the_report_of_the_next_one(run: Run) -> None:
    go = threading.Event()

    def check(model: str, version: Version, unwanted: threading.Event) -> None:
        assert go.wait(20)
        if unwanted.is_set():
            raise ModelError("it is no longer wanted")

    async def scenario() -> None:
        checks = VersionChecks(check)
        checks.report("cars", NEW)
        await asyncio.sleep(0.05)
        checks.forget("cars")
        checks.report("cars", NEW)
        go.set()
        assert await checked(checks) == Report(state="open")
        await asyncio.sleep(0.05)
        assert checks.report("cars", NEW) == Report(state="open")

    run(scenario())


def test_closing_ends_all_checks(run: Run) -> None:
    waiting = Waiting()

    async def scenario() -> None:
        checks = VersionChecks(waiting)
        for model in ("boats", "cars", "kites"):
            checks.report(model, Version(model=f"{model}.onnx"))
        await asyncio.sleep(0.05)
        checks.close()
        await asyncio.sleep(0.2)

    run(scenario())
    assert sorted(waiting.ended) == ["boats.onnx", "cars.onnx"]  # the third waited and never began
