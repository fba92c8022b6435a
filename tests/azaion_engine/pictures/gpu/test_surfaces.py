"""Surfaces: tiles of a JPEG that the GPU decodes once, on a real GPU (`-m gpu`) and on a small fake of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from azaion_engine import Detector
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.errors import (
    EngineClosedError,
    ExecutionError,
    GpuLostError,
    MissingDependencyError,
    UndecodablePictureError,
)
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.gpu import surfaces
from azaion_engine.pictures.gpu.decode_queue import MOST_TOGETHER
from azaion_engine.pictures.gpu.jpeg_decoder import bytes_of
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import HeldPicture, HeldTile, JpegPicture, PreparedPicture, TilePicture
from azaion_engine.results.detections import Detections
from azaion_engine.tiling.settings import Tiles, tiles_of
from tests.azaion_engine.conftest import MODELS, Cuda
from tests.azaion_engine.pictures.gpu.test_loader import assert_same_rows, cut, encode, scene, without_table

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

SIZE = (230, 170)
TILES = {"size": 64, "overlap": 0.25, "full_picture": True}


@pytest.fixture
def open_detector(cuda: Cuda) -> Iterator[Callable[..., Detector]]:
    opened: list[Detector] = []

    def make(name: str = "wide") -> Detector:
        opened.append(Detector(TensorRTEngine(cuda.plan(name)), confidence=0))
        return opened[-1]

    yield make
    for detector in opened:
        detector.close()


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the pictures that the CPU decodes."""
    lengths: list[int] = []
    decode = EncodedPicture.decode
    monkeypatch.setattr(EncodedPicture, "decode", lambda self: lengths.append(len(self.data)) or decode(self))
    return lengths


def held(detector: Detector, data: bytes) -> HeldPicture:
    found = detector._hold(EncodedPicture(data))
    assert found is not None
    return found


def pool_of(detector: Detector) -> surfaces.Surfaces:
    found = detector.engine._resources.surfaces  # type: ignore[attr-defined]
    assert found is not None
    return found


def assert_same_boxes(ours: Detections, theirs: Detections) -> None:
    """Asserts that boxes are within a pixel; decoders differ by a level, so that near ties may be merged otherwise."""
    assert (ours.picture_width, ours.picture_height) == (theirs.picture_width, theirs.picture_height)
    assert len(ours) == pytest.approx(len(theirs), rel=0.05)
    apart = np.abs(ours.boxes[:, None] - theirs.boxes[None]).max(axis=2)
    for nearest in (apart.min(axis=0), apart.min(axis=1)):
        assert (nearest < 1).mean() >= 0.95


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_tile_has_the_rows_of_the_same_rectangle_cut_on_the_cpu(
    cuda: Cuda, open_detector: Any, orientation: int
) -> None:
    data = encode(scene(orientation, *SIZE), orientation=orientation)
    upright = EncodedPicture(data).decode()
    detector = open_detector()
    before = cuda.fake.decoded if cuda.fake else 0
    picture = detector.tiled(data, tiles_of(TILES, detector.tiles))
    picture.hold()
    assert picture.held
    found = detector.infer([picture.prepare(piece, detector.prepare) for piece in picture.pieces])
    if cuda.fake:
        assert cuda.fake.decoded - before <= 1 + MOST_TOGETHER, "the picture once, and the first batch of a decoder"
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as cpu:
        for piece, rows in zip(picture.pieces, found, strict=True):
            pixels = np.ascontiguousarray(piece.tile.of(upright))  # type: ignore[union-attr]
            assert_same_rows(rows, cpu.infer([cpu.prepare(pixels)])[0], f"{piece.tile}")
    picture.close()


def test_boxes_of_pictures_in_tiles_among_others_are_those_of_the_cpu(open_detector: Any, on_cpu: list[int]) -> None:
    given = [
        encode(scene(1, *SIZE)),
        encode(scene(2, 60, 60)),
        encode(scene(3, 300, 120), orientation=6),
        encode(scene(4, *SIZE), "PNG"),
        encode(scene(5, *SIZE), progressive=True),
        encode(scene(6, 200, 200).convert("L")),
    ]
    detector = open_detector()
    found = detector.detect(given, tiles=TILES)
    assert on_cpu == [len(given[3]), len(given[4])]
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as cpu:
        for ours, theirs in zip(found, cpu.detect(given, tiles=TILES), strict=True):
            assert_same_boxes(ours, theirs)
    assert not pool_of(detector)._held


def test_tiles_of_a_whole_scene_give_the_network_input_of_the_cpu(cuda: Cuda, on_cpu: list[int]) -> None:
    data = encode(scene(1, *((1500, 1100) if cuda.fake else (8000, 6000))), orientation=8)
    upright = EncodedPicture(data).decode()
    on_cpu.clear()
    tiles = {"size": 640, "overlap": 0.2, "full_picture": True, "max_tiles": 400}
    with Detector(TensorRTEngine(cuda.plan("copied")), confidence=0) as detector:
        [found] = detector.detect(data, tiles=tiles)
        assert (found.picture_width, found.picture_height) == (upright.shape[1], upright.shape[0])
        picture = detector.tiled(data, tiles_of(tiles, detector.tiles))
        picture.hold()
        assert not on_cpu, "the hardware decodes it"
        pieces = picture.pieces[:: max(1, len(picture.pieces) // 8)]
        for piece in [*pieces, picture.pieces[-1]]:
            prepared = picture.prepare(piece, detector.prepare)
            network_input = loaded(detector, prepared)
            assert piece.tile is not None
            expected = prepared.letterbox.to_input(np.ascontiguousarray(piece.tile.of(upright)))
            apart = np.abs(network_input - expected) * 255
            assert apart.mean() < 1.5, piece.tile
            assert np.percentile(apart, 99.9) < 8, piece.tile
        picture.close()


def loaded(detector: Detector, picture: PreparedPicture) -> np.ndarray[Any, Any]:
    """Returns the network's input of one picture, as it lies on the GPU."""
    engine = detector.engine
    assert isinstance(engine, TensorRTEngine)
    with engine._on_lanes(1, 1) as (lane,):
        assert lane.loader is not None
        assert lane.loader.load([picture]) == [None]  # type: ignore[list-item]
        out = np.empty(lane._input.shape[1:], lane._input.dtype)
        engine._context.driver.memcpy_dtoh_async(out, lane._input.address, lane.stream)
        lane.stream.synchronize()
        lane.loader.finish()
    return out.astype(np.float32)


def test_a_damaged_picture_is_refused_as_on_the_cpu_and_leaves_nothing(open_detector: Any) -> None:
    good = encode(scene(1, *SIZE))
    detector = open_detector()
    assert detector._hold(EncodedPicture(cut(good))) is None, "its pixels may be another picture's"
    given = [good, without_table(good), cut(good), good[:-20], good]
    found = list(detector.detect_each(given, tiles=TILES))
    assert [isinstance(one, UndecodablePictureError) for one in found] == [False, True, True, True, False]
    with pytest.raises(UndecodablePictureError) as on_cpu:
        EncodedPicture(cut(good)).decode()
    assert str(found[2]) == str(on_cpu.value)
    assert_same_boxes(found[0], found[4])
    assert not pool_of(detector)._held


def test_a_released_picture_is_no_longer_read_but_the_tiles_of_a_running_batch_are(open_detector: Any) -> None:
    detector = open_detector()
    picture = held(detector, encode(scene(1, *SIZE)))
    tile = detector.prepare(HeldTile(picture.number, 10, 20, 64, 64))
    pool = pool_of(detector)
    surface = pool.use(tile)
    [rows] = detector.infer([tile])
    assert isinstance(rows, np.ndarray)
    picture.release()
    picture.release()
    other = held(detector, encode(scene(2, *SIZE)))
    assert surface.memory is not pool._held[other.number].memory, "it is still being read"
    errors = detector.infer([tile, detector.prepare(encode(scene(2, 60, 60)))])
    assert isinstance(errors[0], ExecutionError)
    assert isinstance(errors[1], np.ndarray)
    pool.done(surface)
    third = held(detector, encode(scene(3, *SIZE)))
    assert surface.memory is pool._held[third.number].memory, "memory is used again"
    other.release()
    third.release()


def test_a_tile_that_is_not_within_its_picture_fails_alone(open_detector: Any) -> None:
    detector = open_detector()
    picture = held(detector, encode(scene(1, *SIZE)))
    places = [(0, 0, 64, 64), (167, 0, 64, 64), (0, 107, 64, 64), (-1, 0, 64, 64)]
    found = detector.infer([detector.prepare(HeldTile(picture.number, *place)) for place in places])
    assert [isinstance(one, ExecutionError) for one in found] == [False, True, True, True]
    picture.release()


def test_a_detector_that_cuts_by_default_opens_a_decoder_before_the_first_picture(cuda: Cuda) -> None:
    for size in ("off", "auto"):
        with Detector(TensorRTEngine(cuda.plan("wide")), tiles=Tiles(size=size)) as detector:  # type: ignore[arg-type]
            detector.warm_up()
            assert pool_of(detector)._decoding.is_open == (size == "auto")


def test_without_room_the_cpu_decodes(open_detector: Any, on_cpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(scene(1, *SIZE))
    detector = open_detector()
    pool = pool_of(detector)
    [expected] = detector.detect(data, tiles=TILES)
    assert not on_cpu
    needed = bytes_of(SIZE)
    monkeypatch.setattr(pool, "_most_bytes", 2 * needed)
    first, second = held(detector, data), held(detector, data)
    assert detector._hold(EncodedPicture(data)) is None
    [found] = detector.detect(data, tiles=TILES)
    assert on_cpu == [len(data)]
    assert_same_boxes(found, expected)
    first.release()
    larger = encode(scene(1, SIZE[0] + 1, SIZE[1]))
    assert detector._hold(EncodedPicture(larger)) is None
    second.release()
    held(detector, larger).release()  # memory that is kept gives way
    assert pool._bytes <= 2 * needed
    monkeypatch.setattr(surfaces, "MOST_PICTURES", 1)
    third = held(detector, data)
    assert detector._hold(EncodedPicture(data)) is None
    third.release()


def test_memory_that_is_kept_has_a_bound(cuda: Cuda, open_detector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, data = open_detector(), encode(scene(1, *SIZE))
    needed = bytes_of(SIZE)
    monkeypatch.setattr(surfaces, "_KEPT_BYTES", needed)
    pictures = [held(detector, data) for _ in range(3)]
    assert pool_of(detector)._bytes == 3 * needed
    for picture in pictures:
        picture.release()
    assert pool_of(detector)._bytes == needed


def test_gpu_memory_that_runs_out_leaves_the_picture_to_the_cpu(
    cuda: Cuda, open_detector: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not cuda.fake:
        pytest.skip("only a fake GPU can be filled")
    detector, data = open_detector(), encode(scene(1, *SIZE))

    def refuse(size: int) -> None:
        raise cuda.fake.module.MemoryError("cuMemAlloc failed: out of memory")  # type: ignore[union-attr]

    with monkeypatch.context() as full:
        full.setattr(cuda.fake.module, "mem_alloc", refuse)
        assert detector._hold(EncodedPicture(data)) is None
    assert "no room for a picture in tiles" in caplog.text
    assert pool_of(detector)._bytes == 0
    held(detector, data).release()


def test_decoders_that_cannot_be_opened_keep_nobody_waiting(
    cuda: Cuda, open_detector: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    detector, data = open_detector(), encode(scene(1, *SIZE))
    pool = pool_of(detector)
    opened = pool._decoding._open_decoder

    def refuse() -> None:
        time.sleep(0.02)
        raise MissingDependencyError("nvJPEG is gone")

    monkeypatch.setattr(pool._decoding, "_open_decoder", refuse)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(detector._hold, [EncodedPicture(data) for _ in range(8)]))
    assert found == [None] * 8
    assert "nvJPEG is gone" in caplog.text
    assert pool._bytes == bytes_of(SIZE) * len(pool._free), "their memory is kept, or freed"
    monkeypatch.setattr(pool._decoding, "_open_decoder", opened)
    held(detector, data).release()


def test_many_threads_get_the_tiles_of_their_own_pictures(open_detector: Any) -> None:
    given = [encode(scene(seed, *SIZE)) for seed in range(6)]
    detector = open_detector()
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as cpu:
        expected = cpu.detect(given, tiles=TILES)
    wrong: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for turn in range(3):
                at = (index + turn) % len(given)
                assert_same_boxes(detector.detect(given[at], tiles=TILES)[0], expected[at])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(given))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_closed_engine_holds_nothing_and_memory_comes_back(cuda: Cuda) -> None:
    data = encode(scene(1, *SIZE))

    def once() -> None:
        detector = Detector(TensorRTEngine(cuda.plan("wide")), confidence=0)
        left = held(detector, data)
        detector.detect([data] * 3, tiles=TILES)
        detector.close()
        left.release()
        with pytest.raises(EngineClosedError):
            detector._hold(EncodedPicture(data))

    once()
    before = cuda.free_bytes()
    once()
    assert cuda.free_bytes() == pytest.approx(before, abs=16 * 2**20)


def test_a_gpu_lost_while_a_picture_is_decoded_is_told(cuda: Cuda, open_detector: Any) -> None:
    if not cuda.fake:
        pytest.skip("a real GPU is not lost on demand")
    detector = open_detector()
    picture = JpegPicture(Letterbox.fit(*SIZE, 64, 64), encode(scene(1, *SIZE)))
    cuda.fake.lost = True
    with pytest.raises(GpuLostError):
        detector.engine.hold(picture)
    cuda.fake.lost = False


def test_an_engine_on_the_cpu_holds_no_pictures() -> None:
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as cpu:
        assert cpu._hold(EncodedPicture(encode(scene(1, *SIZE)))) is None
        tile = TilePicture(Letterbox.fit(64, 64, 64, 64), HeldTile(1, 0, 0, 64, 64))
        assert "given TilePicture" in str(cpu.infer([tile])[0])
