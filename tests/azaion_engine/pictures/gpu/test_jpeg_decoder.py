"""JpegDecoder: JPEGs → pixels on the GPU, on a real one (`-m gpu`) and on a small fake of one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.cuda.context import cuda_context, make_stream
from azaion_engine.errors import MissingDependencyError
from azaion_engine.pictures.gpu import jpeg_decoder, nvjpeg
from azaion_engine.pictures.gpu.entropy_kernel import checked_jpeg
from azaion_engine.pictures.gpu.jpeg_decoder import DecodedPicture, JpegDecoder
from tests.azaion_engine.conftest import Cuda

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

SIZES = [(64, 48), (200, 140), (9, 5), (333, 77)]


def jpeg(size: tuple[int, int]) -> bytes:
    """Encodes a picture without subsampling: decoders differ in how they upsample the colours."""
    coarse = np.random.default_rng(size[0]).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    scene = Image.fromarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))
    scene.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def by_opencv(data: bytes) -> np.ndarray[Any, Any]:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


class Decoding:
    """A decoder with a stream and a way to read what it wrote."""

    def __init__(self, batch: int) -> None:
        self.decoder = JpegDecoder(0, batch, (64, 64))
        self.context = cuda_context(0)
        with self.context.active():
            self.stream = make_stream(self.context.driver)

    def __call__(self, jpegs: list[bytes], sizes: list[tuple[int, int]]) -> list[np.ndarray[Any, Any] | None]:
        with self.context.active():
            decoded = self.decoder.decode(jpegs, sizes, self.stream)
            return [None if one is None else self._read(one) for one in decoded]

    def doubtful_of(self, jpegs: list[bytes], sizes: list[tuple[int, int]]) -> list[int]:
        with self.context.active():
            self.decoder.decode(jpegs, sizes, self.stream)
            self.stream.synchronize()
            return self.decoder.doubtful()

    def _read(self, picture: DecodedPicture) -> np.ndarray[Any, Any]:
        pixels = np.empty((picture.height, picture.width, 3), np.uint8)
        self.context.driver.memcpy_dtoh_async(pixels, picture.address, self.stream)
        self.stream.synchronize()
        return pixels


@pytest.fixture
def decode(cuda: Cuda) -> Iterator[Decoding]:
    made = Decoding(8)
    yield made
    made.decoder.free()


def test_pictures_of_any_size_lie_beside_each_other(decode: Decoding) -> None:
    jpegs = [jpeg(size) for size in SIZES]
    for count in (1, 4, 2, 3):  # the library is told every change of the number
        for data, found in zip(jpegs, decode(jpegs[:count], SIZES[:count]), strict=False):
            assert found is not None
            assert np.abs(found.astype(int) - by_opencv(data)).mean() < 2


def test_a_picture_of_another_size_than_checked_gets_no_memory(decode: Decoding) -> None:
    jpegs = [jpeg((64, 48)), jpeg((200, 140)), b"no picture"]
    found = decode(jpegs, [(64, 48), (20, 14), (64, 48)])
    assert [one is None for one in found] == [False, True, True]
    assert decode([b"", b"no"], [(1, 1)] * 2) == [None, None]


def test_one_that_cannot_be_decoded_fails_alone(cuda: Cuda, decode: Decoding, monkeypatch: pytest.MonkeyPatch) -> None:
    jpegs = [jpeg((64, 48)), jpeg((64, 48)), jpeg((200, 140))]
    counts = jpegs[1].index(b"\xff\xc4") + 5
    jpegs[1] = jpegs[1][:counts] + b"\xff" + jpegs[1][counts + 1 :]  # its Huffman table has 255 codes of one bit
    # As if the check of scans took it: else nvJPEG would not get it.
    monkeypatch.setattr(jpeg_decoder, "checked_jpeg", lambda data: checked_jpeg(data) or checked_jpeg(jpegs[0]))
    found = decode(jpegs, [(64, 48), (64, 48), (200, 140)])
    assert [one is None for one in found] == [False, True, False]
    for data, pixels in zip(jpegs, found, strict=True):
        assert pixels is None or np.abs(pixels.astype(int) - by_opencv(data)).mean() < 2
    if cuda.fake:
        assert cuda.fake.nvjpeg.calls[-4:] == [3, 1, 1, 1]


def test_scans_that_are_cut_off_are_told(decode: Decoding) -> None:
    whole = [jpeg(size) for size in SIZES]
    cut = [data[: (data.index(b"\xff\xda") + 14 + len(data)) // 2] + b"\xff\xd9" for data in whole]
    for jpegs, doubtful in (
        ([whole[0], cut[1], whole[2], cut[3]], [1, 3]),
        (whole, []),
        (cut, [0, 1, 2, 3]),
        ([b"no", cut[1], whole[2], whole[3]], [1]),
    ):
        assert decode.doubtful_of(jpegs, SIZES) == doubtful
        with decode.context.active():
            assert decode.decoder.doubtful() == [], "told once"


def test_a_jpeg_whose_scan_cannot_be_checked_is_not_decoded(decode: Decoding) -> None:
    data = jpeg((64, 48))
    first, scan = data.index(b"\xff\xc4"), data.index(b"\xff\xda")
    without_tables = data[:first] + data[scan:]  # as in motion JPEG
    assert by_opencv(without_tables).shape == (48, 64, 3)
    assert [one is None for one in decode([without_tables, data], [(64, 48)] * 2)] == [True, False]


def test_no_room_for_the_pixels_leaves_them_to_the_cpu(
    cuda: Cuda, decode: Decoding, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cuda.fake:
        pytest.skip("only a fake GPU can be filled")

    def refuse(size: int) -> None:
        raise cuda.fake.module.MemoryError("cuMemAlloc failed: out of memory")  # type: ignore[union-attr]

    with monkeypatch.context() as full:
        full.setattr(cuda.fake.module, "mem_alloc", refuse)
        assert decode([jpeg((4000, 300))] * 8, [(4000, 300)] * 8) == [None] * 8
    assert "no room for the pixels of 8 JPEGs" in caplog.text
    assert decode([jpeg((64, 48))], [(64, 48)])[0] is not None


def test_only_unusually_large_memory_is_given_back(
    cuda: Cuda, decode: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode([jpeg((333, 77))], [(333, 77)])
    before = cuda.free_bytes()
    with decode.context.active():
        decode.decoder.forget_large()
    assert cuda.free_bytes() == before
    monkeypatch.setattr(decode.decoder, "_kept_bytes", 1000)
    with decode.context.active():
        decode.decoder.forget_large()
    assert decode.decoder._capacity == 0
    assert decode([jpeg((333, 77))], [(333, 77)])[0] is not None


def test_freed_twice_it_has_freed_all(cuda: Cuda) -> None:
    decoder = JpegDecoder(0, 2, (64, 64))
    decoder.free()
    decoder.free()
    if cuda.fake:
        assert not cuda.fake.nvjpeg.open


def test_a_library_that_the_driver_does_not_take_is_passed_over(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class TooNew:
        def nvjpegCreateEx(self, *arguments: Any) -> int:
            return 6

    libraries = nvjpeg.load_libraries()
    monkeypatch.setattr(nvjpeg, "load_libraries", lambda: [(TooNew(), TooNew()), *libraries])
    JpegDecoder(0, 2, (64, 64)).free()
    monkeypatch.setattr(nvjpeg, "load_libraries", lambda: [(TooNew(), TooNew())])
    with pytest.raises(MissingDependencyError, match=r"nvjpegCreateEx failed \(6\)"):
        JpegDecoder(0, 2, (64, 64))
    monkeypatch.setattr(nvjpeg, "load_libraries", list)
    with pytest.raises(MissingDependencyError, match="not installed"):
        JpegDecoder(0, 2, (64, 64))


@pytest.mark.gpu
def test_the_multiprocessors_decode_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvjpeg, "_BACKENDS", (2,))
    decode, jpegs = Decoding(8), [jpeg(size) for size in SIZES]
    for data, found in zip(jpegs, decode(jpegs, SIZES), strict=True):
        assert found is not None
        assert np.abs(found.astype(int) - by_opencv(data)).mean() < 2
    decode.decoder.free()
