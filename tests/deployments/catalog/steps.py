"""Steps of the catalogue's tests: deploying a version, and what its history is then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from deployments.settings import ApplicationSettings
from tests.deployments.catalogued import CataloguedReplica

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def settings_of(file: Path, folder: Path) -> ApplicationSettings:
    return ApplicationSettings(models={"cars": {"model": str(file)}}, cache_dir=folder / "cache", engine="onnx")


def with_rare(file: Path, folder: Path, **rare: Any) -> ApplicationSettings:
    models = {"cars": {"model": str(file)}, **{name: {"model": str(file), **rare} for name in ("boats", "kites")}}
    return ApplicationSettings(models=models, cache_dir=folder / "cache", engine="onnx")


def states(held: CataloguedReplica) -> list[tuple[str, str]]:
    """Returns file and state of each entry of the history, oldest first."""
    return [(Path(entry.version.model).stem, entry.state) for entry in held.rollouts.record_of("cars").history]


def name_of(held: CataloguedReplica) -> str:
    """Returns the name by which Serve knows whether an application runs already."""
    return held.serve.running["several.cars"][0].rpartition(" ")[2]


async def deployed(held: CataloguedReplica, file: Path, **given: Any) -> None:
    await held.rollouts.deploy("cars", str(file), **given)
    await settled(held)


async def settled(held: CataloguedReplica) -> None:
    for _ in range(1000):
        if not held.rollouts._delivery.under_way:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the rollout does not end")


async def reached(held: CataloguedReplica, wanted: list[tuple[str, str]]) -> None:
    for _ in range(500):
        if states(held) == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(states(held))
