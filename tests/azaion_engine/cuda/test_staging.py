from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azaion_engine.cuda import staging
from azaion_engine.cuda.context import CudaContext, cuda_context
from azaion_engine.cuda.staging import Staging, _parts
from tests.azaion_engine.fakes.fake_cuda import FakeCuda, PhysicalGpu
from tests.azaion_engine.fakes.fake_gpu import install


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), st.integers(1, 8), st.integers(8, 300))
def test_parts_are_contiguous_and_each_element_is_in_one(shape: tuple[int, ...], item: int, most: int) -> None:
    places = np.arange(math.prod(shape)).reshape(shape)
    seen: list[int] = []
    for index, offset in _parts(shape, item, most):
        part = places[index].ravel()
        assert part.size * item <= most
        assert part.tolist() == list(range(offset // item, offset // item + part.size))
        seen += part.tolist()
    assert seen == places.ravel().tolist()


class Gpu:
    """A fake GPU, or a real one, with memory to upload to; its context is current."""

    def __init__(self, context: CudaContext) -> None:
        self.context, self.driver = context, context.driver
        self.stream = self.driver.Stream(1)
        self.pool = ThreadPoolExecutor(4)

    def ring(self, array: np.ndarray[Any, Any], dtype: type) -> Staging:
        return Staging(self.context, self.stream, self.pool, array.size * np.dtype(dtype).itemsize)

    def through(self, array: np.ndarray[Any, Any], dtype: type) -> np.ndarray[Any, Any]:
        """Uploads an array twice, and returns the content of the GPU's memory."""
        memory = self.driver.mem_alloc(array.size * np.dtype(dtype).itemsize)
        ring = self.ring(array, dtype)
        ring.upload(np.zeros_like(array), int(memory), np.dtype(dtype))
        sent = array.copy(order="K")
        ring.upload(sent, int(memory), np.dtype(dtype))
        sent[...] = 0  # already copied by the upload
        found = np.empty(array.shape, dtype)
        back = self.driver.pagelocked_empty(array.shape, np.dtype(dtype))
        self.driver.memcpy_dtoh_async(back, int(memory), self.stream)
        self.stream.synchronize()
        found[...] = back
        for held in (ring, ring, back.base, memory):
            held.free()
        return found


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    if request.param == "real":
        with cuda_context(0).active():
            yield Gpu(cuda_context(0))
        return
    fake = FakeCuda([PhysicalGpu("fake", "GPU-1", "0000:01:00.0")])
    install(fake, monkeypatch)
    with cuda_context(0).active():
        yield Gpu(cuda_context(0))
    assert fake.idle(), "a thread has left the context behind"
    assert not fake.allocated
    assert not fake.pinned


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("piece", [64, 1000, 2**20])
@pytest.mark.parametrize("small", [0, 2**30], ids=["by threads", "by one thread"])
def test_what_goes_in_arrives_whatever_its_layout(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, dtype: type, piece: int, small: int
) -> None:
    monkeypatch.setattr(staging, "_PIECE_BYTES", piece)
    monkeypatch.setattr(staging, "_SMALL_BYTES", small)
    rows = np.random.default_rng(0).random((5, 3, 8, 6), np.float32)
    for array in (rows, rows[:, ::-1], rows.transpose(0, 1, 3, 2), rows[::2], rows.astype(np.float16), rows[:1]):
        np.testing.assert_array_equal(gpu.through(array, dtype), array.astype(dtype))


def test_it_works_on_when_no_thread_takes_work_any_more(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_SMALL_BYTES", 0)
    gpu.pool.shutdown()
    rows = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(gpu.through(rows, np.float32), rows)


@pytest.mark.parametrize("small", [0, 2**30], ids=["by threads", "by one thread"])
def test_a_copy_that_cannot_start_is_an_error_and_costs_no_piece(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(staging, "_PIECE_BYTES", 64)
    monkeypatch.setattr(staging, "_SMALL_BYTES", small)
    rows = np.random.default_rng(0).random((40, 16), np.float32)
    memory, ring = gpu.driver.mem_alloc(rows.nbytes), gpu.ring(rows, np.float32)
    real = gpu.driver.memcpy_htod_async

    def refuse(address: int, piece: np.ndarray[Any, Any], stream: Any) -> None:
        raise gpu.driver.Error("not today")

    with monkeypatch.context() as patch:
        patch.setattr(gpu.driver, "memcpy_htod_async", refuse)
        with pytest.raises(gpu.driver.Error, match="not today"):
            ring.upload(rows, int(memory), rows.dtype)
    assert gpu.driver.memcpy_htod_async is real
    ring.upload(rows, int(memory), rows.dtype)
    gpu.stream.synchronize()
    for held in (ring, memory):
        held.free()
