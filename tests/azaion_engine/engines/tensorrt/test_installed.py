"""Which TensorRT is loaded where there are several, or none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from azaion_engine.engines.tensorrt import installed
from azaion_engine.errors import MissingDependencyError
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_tensorrt import make_tensorrt


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    installed.forget()
    yield
    installed.forget()


def test_tensorrt_goes_before_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = make_tensorrt(FakeCuda([PhysicalGpu("NVIDIA H200", "GPU-aaaa", "0000:1B:00.0")]))
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    loaded = installed.load()
    assert (loaded.flavour, loaded.version, loaded.strongly_typed) == ("tensorrt", "8.6.0", False)
    assert installed.load() is loaded


@pytest.mark.parametrize("absent", [None, ModuleType("tensorrt")], ids=["not installed", "a folder of stubs"])
def test_rtx_is_taken_where_tensorrt_is_absent(monkeypatch: pytest.MonkeyPatch, absent: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", absent)
    loaded = installed.load()
    assert (loaded.flavour, loaded.strongly_typed) == ("tensorrt_rtx", True)
    assert loaded.version[0].isdigit()


def test_neither_names_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"tensorrt_rtx_cu13.*tensorrt: .*libraries; tensorrt_rtx: "):
        installed.load()
