"""Fixtures of the library's benchmarks."""

from __future__ import annotations

from tests.azaion_engine.conftest import cuda, nothing_left_behind  # noqa: F401 (fixtures)
