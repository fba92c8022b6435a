"""Loader: from encoded bytes to rows of boxes, on a real GPU (`-m gpu`) and on a small fake of one."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine import Detector
from azaion_engine.cuda.graph import CudaGraph
from azaion_engine.cuda.libcuda import LibcudaError
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.engines.tensorrt.run.resources import LANES
from azaion_engine.errors import AzaionError, OutOfMemoryError, UndecodablePictureError
from azaion_engine.pictures.codec import PictureLimits, decode
from azaion_engine.pictures.gpu import entropy_kernel, jpeg_decoder, loader, nvjpeg
from azaion_engine.pictures.gpu.entropy_kernel import checked_jpeg
from azaion_engine.pictures.prepared import JpegPicture
from tests.azaion_engine.conftest import MODELS, Cuda

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

EXIF_ORIENTATION = 0x0112


def scene(seed: int, width: int, height: int) -> Image.Image:
    """Makes a smooth picture: at sharp edges, decoders differ in how they upsample the colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def encode(picture: Image.Image, kind: str = "JPEG", orientation: int = 1, **options: Any) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation != 1:
        exif[EXIF_ORIENTATION] = orientation
    picture.save(file, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def without_table(jpeg: bytes) -> bytes:
    """Breaks a JPEG behind its valid header: no component has its quantisation table."""
    numbers = jpeg.index(b"\xff\xdb") + 4
    return jpeg[:numbers] + b"\x03" + jpeg[numbers + 1 :]


def cut(jpeg: bytes, share: float = 0.5) -> bytes:
    """Drops the end of a JPEG's data, but not its end marker, so that its header and its last bytes look whole."""
    scan = jpeg.rindex(b"\xff\xda") + 14
    return jpeg[: scan + int((len(jpeg) - scan) * share)] + b"\xff\xd9"


MIXED: dict[str, bytes] = {
    "plain": encode(scene(1, 200, 140)),
    "of the network's size": encode(scene(2, 64, 64)),
    "4:4:4, tall": encode(scene(3, 90, 250), subsampling=0),
    "4:2:2": encode(scene(4, 133, 77), subsampling=1),
    "grey": encode(scene(5, 120, 120).convert("L")),
    "tiny": encode(scene(6, 9, 5)),
    "restart markers": encode(scene(7, 160, 160), restart_marker_rows=1),
    "4:1:1": cv2.imencode(
        ".jpg",
        np.asarray(scene(13, 128, 96)),
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411],
    )[1].tobytes(),
    "progressive": encode(scene(8, 200, 100), progressive=True),
    "CMYK": encode(scene(9, 100, 100).convert("CMYK")),
    "PNG": encode(scene(10, 150, 100), "PNG"),
    "WebP": encode(scene(11, 100, 150), "WebP", lossless=True),
    "BMP": encode(scene(12, 77, 55), "BMP"),
    **{f"orientation {o}": encode(scene(20 + o, 150, 100), orientation=o) for o in range(1, 9)},
}


@pytest.fixture
def open_detector(cuda: Cuda) -> Iterator[Callable[..., Detector]]:
    opened: list[Detector] = []

    def make(name: str = "wide", **options: Any) -> Detector:
        opened.append(Detector(TensorRTEngine(cuda.plan(name), **options), confidence=0))
        return opened[-1]

    yield make
    for detector in opened:
        detector.close()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray[Any, Any]]:
    """Returns the rows that the CPU finds."""
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as detector:
        return {name: detector.infer([detector.prepare(data)])[0] for name, data in MIXED.items()}


def assert_same_rows(found: Any, expected: np.ndarray[Any, Any], name: str) -> None:
    """Asserts that every confident row has an equal within a pixel; near ties may swap places."""
    assert found.shape == expected.shape
    for row in expected[:6]:
        distance = np.abs(found[:, :4] - row[:4]).max(axis=1)
        assert distance.min() < 1, (name, row, found)
        assert abs(found[distance.argmin(), 4] - row[4]) < 0.02, name


def test_mixed_pictures_in_one_batch_give_the_rows_of_the_cpu(cuda: Cuda, open_detector: Any, expected: Any) -> None:
    detector = open_detector()
    before = cuda.fake.decoded if cuda.fake else 0
    found = detector.infer([detector.prepare(data) for data in MIXED.values()])
    for (name, rows), ours in zip(expected.items(), found, strict=True):
        assert_same_rows(ours, rows, name)
    if cuda.fake:
        assert cuda.fake.decoded - before == len(MIXED) - 6, "what hardware can decode it should"


def test_boxes_are_those_of_the_cpu_in_the_upright_picture(open_detector: Any) -> None:
    data = [encode(scene(3, 150, 100), orientation=o) for o in (1, 6)]
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as cpu:
        for ours, theirs in zip(open_detector().detect(data), cpu.detect(data), strict=True):
            assert (ours.picture_width, ours.picture_height) == (theirs.picture_width, theirs.picture_height)
            apart = np.abs(ours.boxes[:, None] - theirs.boxes[None, :6]).max(axis=2).min(axis=0)
            assert apart.max() < 1


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_every_batch_size_up_to_the_largest(
    cuda: Cuda, open_detector: Any, expected: Any, monkeypatch: pytest.MonkeyPatch, graphs: bool
) -> None:
    if not graphs:
        monkeypatch.setattr(CudaGraph, "__init__", refuse_to_record)
    detector = open_detector()
    launches = cuda.fake.graph_launches if cuda.fake else 0
    prepared = {name: detector.prepare(data) for name, data in MIXED.items()}
    names = list(prepared)[: detector.engine.get_batch_size()]
    for count in range(1, len(names) + 1):
        found = detector.infer([prepared[name] for name in names[:count]])
        assert len(found) == count
        for name, rows in zip(names, found, strict=False):
            assert_same_rows(rows, expected[name], name)
    if cuda.fake:
        assert cuda.fake.graph_launches - launches == (len(names) if graphs else 0)


def refuse_to_record(graph: CudaGraph, stream: Any, enqueue: Any) -> None:
    raise LibcudaError("not today")


def test_many_batches_are_answered_in_order_and_the_first_bad_picture_is_named(open_detector: Any) -> None:
    detector = open_detector("fixed_half")
    assert detector.engine.lanes == LANES
    data = [encode(scene(i, 40 + i, 60)) for i in range(30)]
    assert [found.picture_width for found in detector.detect(data)] == list(range(40, 70))
    for bad in (17, 23):
        data[bad] = without_table(data[bad])
    with pytest.raises(UndecodablePictureError, match="picture 17:"):
        detector.detect(data)


def test_half_input_is_filled_like_the_float_one(open_detector: Any) -> None:
    detector = open_detector("fixed_half")
    with Detector(OnnxEngine(MODELS["fixed_half"][0]), confidence=0) as cpu:
        data = [MIXED["plain"], MIXED["PNG"], MIXED["orientation 6"]]
        found, theirs = (d.infer([d.prepare(each) for each in data]) for d in (detector, cpu))
        for ours, rows in zip(found, theirs, strict=True):
            assert_same_rows(ours, rows, "half")


@pytest.mark.parametrize("case", ["no nvJPEG", "nothing decodes", "driver without the kernel"])
def test_what_is_missing_is_done_on_the_cpu(
    cuda: Cuda,
    open_detector: Any,
    expected: Any,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not cuda.fake:
        pytest.skip("a real GPU misses nothing")
    if case == "no nvJPEG":
        monkeypatch.setattr(nvjpeg, "load_libraries", list)
    elif case == "nothing decodes":
        cuda.fake.decodes = False
    else:

        def refuse(ptx: bytes) -> None:
            raise cuda.fake.Error("the provided PTX was compiled with an unsupported toolchain")

        monkeypatch.setattr(cuda.fake.module, "module_from_buffer", refuse)
    with caplog.at_level(logging.WARNING):
        detector = open_detector()
    assert "on the CPU" in caplog.text
    found = detector.infer([detector.prepare(data) for data in MIXED.values()])
    for (name, rows), ours in zip(expected.items(), found, strict=True):
        assert_same_rows(ours, rows, name)


def test_a_gpu_without_decoding_hardware_decodes_on_its_multiprocessors(
    cuda: Cuda, open_detector: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cuda.fake:
        pytest.skip("a real GPU has what it has")
    monkeypatch.setattr(cuda.fake, "decoding_hardware", False)
    detector, before = open_detector(), cuda.fake.decoded
    assert_same_rows(detector.infer([detector.prepare(MIXED["plain"])])[0], expected["plain"], "plain")
    assert cuda.fake.decoded == before + 1


def test_what_nvjpeg_refuses_is_refused_alone_and_as_on_the_cpu(
    open_detector: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = MIXED["plain"]
    counts = plain.index(b"\xff\xc4") + 5
    damaged = plain[:counts] + b"\xff" + plain[counts + 1 :]  # its Huffman table has 255 codes of one bit
    with pytest.raises(UndecodablePictureError) as on_cpu:
        decode(damaged)
    # As if the check of scans took it: else nvJPEG would not get it.
    monkeypatch.setattr(jpeg_decoder, "checked_jpeg", lambda data: checked_jpeg(data) or checked_jpeg(plain))
    detector = open_detector()
    order = ["plain", "damaged", "PNG", "grey"]
    prepared = [detector.prepare(MIXED[name.replace("damaged", "plain")]) for name in order]
    prepared[1] = replace(prepared[1], jpeg=damaged)
    found = detector.infer(prepared)
    assert isinstance(found[1], UndecodablePictureError)
    assert str(found[1]) == str(on_cpu.value)
    for name in ("plain", "PNG", "grey"):
        assert_same_rows(found[order.index(name)], expected[name], name)
    assert isinstance(detector.infer(prepared[1:2])[0], UndecodablePictureError)


CUT = ["plain", "4:4:4, tall", "4:2:2", "grey", "of the network's size", "orientation 1", "orientation 6"]


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_cut_scans_are_refused_as_on_the_cpu_and_harm_no_neighbour(
    open_detector: Any, expected: Any, share: float
) -> None:
    detector = open_detector()
    given = [(name, broken) for name in CUT for broken in (False, True)]
    prepared = [detector.prepare(cut(MIXED[name], share) if broken else MIXED[name]) for name, broken in given]
    assert all(isinstance(one, JpegPicture) for one in prepared), "the GPU gets them"
    for start in (0, 1):  # begins with a whole one, and with a cut one
        for (name, broken), found in zip(given[start:], detector.infer(prepared[start:]), strict=True):
            if not broken:
                assert_same_rows(found, expected[name], name)
                continue
            with pytest.raises(UndecodablePictureError) as on_cpu:
                decode(cut(MIXED[name], share))
            assert isinstance(found, UndecodablePictureError), name
            assert str(found) == str(on_cpu.value)


def test_a_batch_of_cut_scans_has_no_rows_and_the_next_one_has(open_detector: Any, expected: Any) -> None:
    detector = open_detector()
    found = detector.infer([detector.prepare(cut(MIXED[name])) for name in CUT])
    assert [type(one) for one in found] == [UndecodablePictureError] * len(CUT)
    for name, rows in zip(CUT, detector.infer([detector.prepare(MIXED[name]) for name in CUT]), strict=True):
        assert_same_rows(rows, expected[name], name)


def test_damage_that_the_cpu_passes_over_gives_the_rows_of_the_cpu(
    open_detector: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, noise = MIXED["4:4:4, tall"], bytes(np.random.default_rng(2).integers(1, 255, 60, np.uint8))
    middle = len(whole) * 2 // 3
    damaged = whole[:middle] + noise + whole[middle + len(noise) :]
    with Detector(OnnxEngine(MODELS["wide"][0]), confidence=0) as cpu:
        rows = cpu.infer([cpu.prepare(damaged)])[0]
    on_cpu = []
    monkeypatch.setattr(loader, "decode", lambda data, limits: on_cpu.append(data) or decode(data, limits))
    detector = open_detector()
    found = detector.infer([detector.prepare(one) for one in (MIXED["grey"], damaged, whole)])
    assert on_cpu == [damaged]
    assert_same_rows(found[0], expected["grey"], "grey")
    assert_same_rows(found[1], rows, "damaged")
    assert_same_rows(found[2], expected["4:4:4, tall"], "whole")


def test_scans_that_the_gpu_gives_up_on_are_decoded_on_the_cpu(
    open_detector: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = open_detector()
    monkeypatch.setattr(entropy_kernel, "LEAST_PIECE", 1)
    monkeypatch.setattr(entropy_kernel, "MOST_AGAIN", 0)
    on_cpu = []
    monkeypatch.setattr(loader, "decode", lambda data, limits: on_cpu.append(data) or decode(data, limits))
    given = {**MIXED, "cut": cut(MIXED["plain"])}
    found = dict(zip(given, detector.infer([detector.prepare(data) for data in given.values()]), strict=True))
    assert isinstance(found.pop("cut"), UndecodablePictureError)
    assert len(on_cpu) > len(MIXED) // 2, "pieces of a few bytes never synchronise"
    for name, rows in found.items():
        assert_same_rows(rows, expected[name], name)


@pytest.mark.parametrize("spoil", [lambda jpeg: jpeg[:-20], lambda jpeg: b"", lambda jpeg: b"no picture", lambda j: j])
def test_bad_bytes_are_refused_as_on_the_cpu(open_detector: Any, spoil: Any) -> None:
    data, limits = spoil(MIXED["plain"]), PictureLimits(max_pixels=1000)
    with Detector(OnnxEngine(MODELS["wide"][0]), limits=limits) as cpu, pytest.raises(AzaionError) as on_cpu:
        cpu.prepare(data)
    detector = open_detector()
    detector._preparer.limits = limits
    with pytest.raises(type(on_cpu.value)) as on_gpu:
        detector.prepare(data)
    assert str(on_gpu.value) == str(on_cpu.value)


def test_what_the_decoder_gives_up_on_is_decoded_on_the_cpu(
    cuda: Cuda, open_detector: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = open_detector()
    prepared = [detector.prepare(data) for data in MIXED.values()]
    for lane in detector.engine._resources.lanes:
        monkeypatch.setattr(lane.loader._decoder, "decode", lambda jpegs, sizes, stream: [None] * len(jpegs))
    for (name, rows), ours in zip(expected.items(), detector.infer(prepared), strict=True):
        assert_same_rows(ours, rows, name)


def test_a_picture_for_which_the_cpu_has_no_memory_fails_alone(
    cuda: Cuda, open_detector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OutOfMemoryError("no memory was left")

    detector = open_detector()
    prepared = [detector.prepare(data) for data in MIXED.values()]
    for lane in detector.engine._resources.lanes:
        monkeypatch.setattr(lane.loader._decoder, "decode", lambda jpegs, sizes, stream: [None] * len(jpegs))
    monkeypatch.setattr(loader, "decode", fail)
    found = detector.infer(prepared)
    assert [isinstance(one, OutOfMemoryError) for one in found] == [isinstance(one, JpegPicture) for one in prepared]
    assert 0 < sum(isinstance(one, JpegPicture) for one in prepared) < len(prepared)


def test_many_threads_get_the_rows_of_their_own_pictures(open_detector: Any, expected: Any) -> None:
    detector = open_detector()
    detector.warm_up()
    names = list(MIXED)
    wrong: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for count in (1, 3, 5, 2):
                mine = [names[(first + i) % len(names)] for i in range(count)]
                found = detector.infer([detector.prepare(MIXED[name]) for name in mine])
                for name, rows in zip(mine, found, strict=True):
                    assert_same_rows(rows, expected[name], name)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(3 * index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_memory_comes_back(cuda: Cuda) -> None:
    def once() -> None:
        with Detector(TensorRTEngine(cuda.plan("wide")), confidence=0) as detector:
            detector.warm_up()
            detector.detect(list(MIXED.values()))

    once()
    before = cuda.free_bytes()
    once()
    assert cuda.free_bytes() == pytest.approx(before, abs=16 * 2**20)
    if cuda.fake:
        assert cuda.fake.pinned == 0
