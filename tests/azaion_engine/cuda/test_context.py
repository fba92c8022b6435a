from __future__ import annotations

import sys

import pytest

from azaion_engine.cuda import context as module
from azaion_engine.cuda.context import begin_context, cuda_context
from azaion_engine.errors import ConfigurationError, MissingDependencyError
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_gpu import install

BLOCKING_SYNC = 4


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda([PhysicalGpu("fake", "GPU-1", "0000:01:00.0"), PhysicalGpu("other", "GPU-2", "0000:02:00.0")])
    install(fake, monkeypatch)
    return fake


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_context_is_made_once_with_threads_that_sleep_begun_before_or_not(host: FakeCuda, times: int) -> None:
    for _ in range(times):
        begin_context(0)
    assert cuda_context(0) is cuda_context(0)
    assert host.contexts == {0}
    assert host.context_flags == {0: BLOCKING_SYNC}


def test_what_is_begun_for_one_gpu_leaves_the_others_alone(host: FakeCuda) -> None:
    begin_context(1)
    assert cuda_context(1).device_id == 1
    assert host.contexts == {1}


@pytest.mark.parametrize("missing", ["GPU", "driver"])
def test_what_goes_wrong_at_the_beginning_shows_when_the_context_is_asked_for(
    host: FakeCuda, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "GPU":
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    else:

        def load_libcuda() -> None:
            raise OSError("libcuda.so.1: cannot open shared object file")

        monkeypatch.setattr("azaion_engine.cuda.libcuda.load_libcuda", load_libcuda)
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    begin_context(0)
    with pytest.raises(ConfigurationError if missing == "GPU" else MissingDependencyError):
        cuda_context(0)
    assert not host.contexts


def test_without_pycuda_nothing_begins(host: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pycuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    begin_context(0)
    assert not module._begun
