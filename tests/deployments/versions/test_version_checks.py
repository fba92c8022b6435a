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

    def check(model: str, version: Version) -> None:
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
    def check(model: str, version: Version) -> None:
        raise error

    assert run(checked(VersionChecks(check))) == Report(state="failed", message=message)


def test_a_version_of_a_model_whose_checks_are_forgotten_is_checked_anew(run: Run) -> None:
    seen: list[str] = []

    async def scenario() -> None:
        checks = VersionChecks(lambda model, version: seen.append(model))
        for model in ("cars", "boats"):
            await checked(checks, model)
        checks.forget("cars")
        for model in ("cars", "boats"):
            await checked(checks, model)
        assert seen == ["cars", "boats", "cars"]

    run(scenario())
