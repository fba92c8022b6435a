"""Fixtures of the catalogue's tests: models, and a catalogue of one of them in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.catalog import delivery
from tests.azaion_engine.models import make_detector
from tests.deployments.catalog.steps import settings_of
from tests.deployments.catalogued import CataloguedReplica, catalogued


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three models of other weights."""
    paths = [tmp_path / f"{name}.onnx" for name in "abc"]
    for seed, path in enumerate(paths):
        path.write_bytes(make_detector(seed=seed))
    return paths


@pytest.fixture
def held(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CataloguedReplica]:
    monkeypatch.setattr(delivery, "LOOK_S", 0.01)
    with catalogued(settings_of(files[0], tmp_path)) as running:
        yield running
