"""DecodeQueue: pictures that wait are decoded in one call, and each thread gets its own, on a GPU and on a fake one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from azaion_engine.cuda.context import CudaContext, cuda_context, make_stream
from azaion_engine.errors import MissingDependencyError
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.gpu.decode_queue import MOST_TOGETHER, DecodeQueue
from azaion_engine.pictures.gpu.jpeg_decoder import DecodedPicture, JpegDecoder, bytes_of
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import JpegPicture
from tests.azaion_engine.conftest import Cuda
from tests.azaion_engine.pictures.gpu.test_loader import cut, encode, scene

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

WIDTH, HEIGHT = 90, 60


class Watched:
    """A decoder that notes its calls; the first call, and each that is told to, waits until `go`."""

    def __init__(self, decoder: JpegDecoder) -> None:
        self.decoder = decoder
        self.calls: list[int] = []
        self.go = threading.Event()
        self.error: Exception | None = None

    def decode_into(self, jpegs: Sequence[bytes], *given: Any) -> list[DecodedPicture | None]:
        self.calls.append(len(jpegs))
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        return self.decoder.decode_into(jpegs, *given)

    def doubtful(self) -> list[int]:
        return self.decoder.doubtful()

    def free(self) -> None:
        self.decoder.free()


@pytest.fixture
def context(cuda: Cuda) -> CudaContext:
    return cuda_context(0)


@pytest.fixture
def decoder(context: CudaContext) -> Watched:
    return Watched(JpegDecoder(0, MOST_TOGETHER, (WIDTH, HEIGHT)))


@pytest.fixture
def queue(context: CudaContext, decoder: Watched) -> Iterator[DecodeQueue]:
    made = DecodeQueue(context, lambda: decoder)  # type: ignore[arg-type, return-value]
    yield made
    decoder.go.set()
    with context.active():
        made.free()
        made.free()


def pixels_of(context: CudaContext, queue: DecodeQueue, jpeg: bytes) -> NDArray[np.uint8] | None:
    """Decodes in memory of its own; returns uint8 `[height, width, 3]`."""
    with context.active():
        memory = context.driver.mem_alloc(bytes_of((WIDTH, HEIGHT)))
        try:
            picture = JpegPicture(Letterbox.fit(WIDTH, HEIGHT, 64, 64), jpeg)
            if (decoded := queue.decode(picture, memory)) is None:
                return None
            assert (decoded.address, decoded.width, decoded.height) == (int(memory), WIDTH, HEIGHT)
            pixels, stream = np.empty((HEIGHT, WIDTH, 3), np.uint8), make_stream(context.driver)
            context.driver.memcpy_dtoh_async(pixels, memory, stream)
            stream.synchronize()
            del stream  # while the context is active: PyCUDA would leak it
            return pixels
        finally:
            memory.free()


def asked(pool: ThreadPoolExecutor, context: CudaContext, queue: DecodeQueue, jpegs: list[bytes]) -> list[Future[Any]]:
    """Lets the first picture be decoded, and the others wait in their order."""
    futures: list[Future[Any]] = []
    for index, jpeg in enumerate(jpegs):
        futures.append(pool.submit(pixels_of, context, queue, jpeg))
        end = time.monotonic() + 20
        while len(queue._waiting) != index or (index == 0 and not queue._is_busy):
            assert time.monotonic() < end
            time.sleep(0.001)
    return futures


def test_those_that_wait_are_decoded_together_and_each_thread_gets_its_own(
    context: CudaContext, queue: DecodeQueue, decoder: Watched
) -> None:
    jpegs = [encode(scene(seed, WIDTH, HEIGHT)) for seed in range(8)]
    jpegs[2] = cut(jpegs[2])
    jpegs[6] = b"no JPEG"
    with ThreadPoolExecutor(8) as pool:
        futures = asked(pool, context, queue, jpegs)
        decoder.go.set()
        found = [future.result(20) for future in futures]
    assert decoder.calls == [1, MOST_TOGETHER, 3]
    assert [one is None for one in found] == [index in (2, 6) for index in range(8)]
    for jpeg, pixels in zip(jpegs, found, strict=True):
        if pixels is not None:
            assert np.abs(pixels.astype(int) - decode(jpeg)).mean() < 1.5


def test_an_error_reaches_those_whose_pictures_were_decoded_and_nobody_else(
    context: CudaContext, queue: DecodeQueue, decoder: Watched
) -> None:
    jpeg = encode(scene(1, WIDTH, HEIGHT))
    decoder.error = RuntimeError("the GPU is gone")
    with ThreadPoolExecutor(4) as pool:
        futures = asked(pool, context, queue, [jpeg] * 4)
        decoder.go.set()
        for future in futures:
            with pytest.raises(RuntimeError, match="the GPU is gone"):
                future.result(20)
    decoder.error = None
    assert pixels_of(context, queue, jpeg) is not None
    assert decoder.calls == [1, 3, 1]


def test_without_a_decoder_nobody_waits_and_the_next_picture_tries_again(
    context: CudaContext, decoder: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def open_decoder() -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise MissingDependencyError("nvJPEG is gone")
        return decoder

    decoder.go.set()
    queue, jpeg = DecodeQueue(context, open_decoder), encode(scene(1, WIDTH, HEIGHT))
    assert pixels_of(context, queue, jpeg) is None
    assert "nvJPEG is gone" in caplog.text
    assert not queue.is_open
    assert pixels_of(context, queue, jpeg) is not None
    assert queue.is_open
    with context.active():
        queue.free()
