"""Raw heads on TensorRT: the GPU makes the same rows as the head makes of the network's outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from azaion_engine import Detector
from azaion_engine.cuda.libcuda import LibcudaError
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.engines.tensorrt.run import selection_graph
from azaion_engine.errors import UndecodablePictureError
from azaion_engine.heads.base import Head, Keypoints
from azaion_engine.heads.choice import Choice
from azaion_engine.heads.oriented import OrientedYolo
from azaion_engine.heads.yolo import RawYolo
from azaion_engine.pictures.input_form import InputForm
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import ArrayPicture, PictureForm, PixelPicture, PreparedBatch, Selection
from benchmarks.library import raw_head
from tests.azaion_engine.conftest import Cuda
from tests.azaion_engine.pictures.gpu.test_loader import MIXED, cut

pytestmark = pytest.mark.usefixtures("nothing_left_behind")

CHOICE = Choice(RawYolo("output0", 3))
BOX = Letterbox.fit(64, 64, 64, 64)
WANTED = [Selection(0.2), Selection(0.3, iou=0.2), Selection(0.001, max_detections=3)]


def scenes(count: int) -> list[np.ndarray[Any, Any]]:
    return list(np.random.default_rng(5).integers(0, 256, (count, 64, 64, 3), np.uint8))


POSE = RawYolo("output0", 1, keypoints=Keypoints(1, 2))


@pytest.mark.parametrize(
    "head", [CHOICE.head, OrientedYolo("output0", 2), POSE], ids=["upright", "oriented", "keypoints"]
)
@pytest.mark.parametrize("plan", ["raw", "raw_half"])
def test_the_rows_are_those_of_the_head_for_the_same_outputs(
    cuda: Cuda, make_engine: Callable[..., TensorRTEngine], plan: str, head: Head
) -> None:
    engine = make_engine(plan)
    engine.choice = Choice(head)
    engine.open_pictures()
    for count in (1, 3, 2):
        pixels = scenes(count)
        arrays = np.stack([BOX.to_input(one) for one in pixels])
        expected = head.rows({"output0": engine.run(arrays)[0]}, (64, 64), WANTED[:count])
        pairs = list(zip(pixels, arrays, WANTED, strict=False))
        found = engine.run_pictures(PreparedBatch([PixelPicture(BOX, one, want) for one, _, want in pairs]))
        as_arrays = engine.run_pictures(PreparedBatch([ArrayPicture(BOX, one, want) for _, one, want in pairs]))
        for rows, ours, alike in zip(expected, found, as_arrays, strict=True):
            assert 1 <= len(rows) <= 60
            np.testing.assert_allclose(ours[: len(rows)], rows, atol=1e-4)
            assert not ours[len(rows) :].any()
            np.testing.assert_array_equal(alike, rows)


@pytest.mark.parametrize(
    "head", [CHOICE.head, OrientedYolo("output0", 2), POSE], ids=["upright", "oriented", "keypoints"]
)
@pytest.mark.parametrize("plan", ["raw", "raw_half"])
def test_a_recorded_selection_gives_the_rows_of_one_launched_kernel_by_kernel(
    cuda: Cuda, make_engine: Callable[..., TensorRTEngine], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, plan: str, head: Head,
) -> None:  # fmt: skip
    def no_graph(stream: Any, enqueue: Callable[[], None]) -> None:
        raise LibcudaError("cuStreamBeginCapture_v2 failed: CUDA_ERROR_NOT_SUPPORTED (801)")

    recorded = make_engine(plan)
    recorded.choice = Choice(head)
    recorded.open_pictures()
    assert "no CUDA graph" not in caplog.text, "of TensorRT's execution neither"
    launched = make_engine(plan)
    launched.choice = Choice(head)
    with monkeypatch.context() as patch:
        patch.setattr(selection_graph, "CudaGraph", no_graph)
        launched.open_pictures()
    assert "each selection of boxes is launched kernel by kernel" in caplog.text
    launches = cuda.fake.graph_launches if cuda.fake else 0
    for round_, count in enumerate((1, 3, 2, 4, 1)):  # nothing is left of the batch before
        wishes = [WANTED[(round_ + i) % 3] for i in range(count)]
        batch = PreparedBatch([PixelPicture(BOX, *pair) for pair in zip(scenes(count), wishes, strict=True)])
        expected = launched.run_pictures(batch)
        found = recorded.run_pictures(batch)
        for rows, ours in zip(expected, found, strict=True):
            assert (np.asarray(rows)[:, 4] > 0).any()
            np.testing.assert_array_equal(ours, rows)
    if cuda.fake:
        batches = 5 if plan == "raw" else 7
        assert cuda.fake.graph_launches - launches == 3 * batches, "of networks two, of selections one"


def test_network_and_selection_of_a_batch_are_measured_apart(make_engine: Callable[..., TensorRTEngine]) -> None:
    for plan, names in (("raw", ["network", "selection"]), ("wide", ["network"])):
        engine = make_engine(plan)
        if plan == "raw":
            engine.choice = CHOICE
        with Detector(engine) as detector:
            pictures = [next(iter(MIXED.values()))] * engine.get_batch_size()
            before = [rows.tolist() for rows in detector.infer([detector.prepare(one) for one in pictures])]
            taken = raw_head.stages(detector, 2)
            assert list(taken) == names
            assert all(milliseconds > 0 for milliseconds in taken.values())
            after = [rows.tolist() for rows in detector.infer([detector.prepare(one) for one in pictures])]
            assert after == before


def test_encoded_pictures_are_answered_with_their_own_confidence(make_engine: Callable[..., TensorRTEngine]) -> None:
    engine = make_engine("raw")
    engine.choice = CHOICE
    with Detector(engine, confidence=0.5) as detector:
        data = list(MIXED.values())[:4]
        few = detector.infer([detector.prepare(one) for one in data])
        many = detector.infer([detector.prepare(one, confidence=0.01) for one in data])
        for sparse, dense in zip(few, many, strict=True):
            assert not isinstance(sparse, Exception)
            assert not isinstance(dense, Exception)
            assert (sparse[:, 4] > 0.5).sum() < (dense[:, 4] > 0.01).sum()
            assert ((sparse[:, 4] >= 0.5) | (sparse[:, 4] == 0)).all()


def test_a_cut_scan_takes_no_rows_from_its_neighbours(make_engine: Callable[..., TensorRTEngine]) -> None:
    engine = make_engine("raw")
    engine.choice = CHOICE
    with Detector(engine, confidence=0.01) as detector:
        whole = [detector.prepare(MIXED[name]) for name in ("plain", "grey", "4:2:2")]
        [plain, grey, other] = detector.infer(whole)
        broken = detector.prepare(cut(MIXED["plain"]))
        found = detector.infer([broken, whole[0], broken, whole[1], whole[2], broken])
        assert [isinstance(one, UndecodablePictureError) for one in found] == [True, False, True, False, False, True]
        for rows, expected in zip((found[1], found[3], found[4]), (plain, grey, other), strict=True):
            np.testing.assert_allclose(rows, expected, atol=1e-2)


def test_more_boxes_than_the_gpu_has_room_for_are_selected_on_the_cpu(
    make_engine: Callable[..., TensorRTEngine],
) -> None:
    engine = make_engine("raw")
    engine.choice = CHOICE
    with Detector(engine, confidence=0.001) as detector:
        data = next(iter(MIXED.values()))
        [usual] = detector.infer([detector.prepare(data)])
        [many] = detector.infer([detector.prepare(data, max_detections=1000)])
        assert len(usual) == 300, "padded with zeros"
        np.testing.assert_array_equal(usual[: len(many)], many)


@pytest.mark.parametrize("fit", ["letterbox", "top_left", "stretch"])
def test_other_input_forms_are_made_on_the_gpu(make_engine: Callable[..., TensorRTEngine], fit: Any) -> None:
    form = InputForm(colour="bgr", scale=1.0, mean=(1, 2, 3), std=(50, 60, 70), fit=fit)
    engine = make_engine("raw")
    engine.choice = Choice(RawYolo("output0", 3), form)
    pixels = np.random.default_rng(7).integers(0, 256, (48, 100, 3), np.uint8)
    box = Letterbox.fit(100, 48, 64, 64, fit)
    with Detector(engine, confidence=0.01) as detector:
        assert engine.open_pictures() is not PictureForm.ARRAY
        [found] = detector.infer([detector.prepare(pixels)])
        want = detector.selection()
        [expected] = engine.run_pictures(PreparedBatch([ArrayPicture(box, box.to_input(pixels, form=form), want)]))
    assert len(expected) > 0
    np.testing.assert_allclose(found[: len(expected)], expected, atol=1e-4)


def test_an_input_form_that_the_kernel_does_not_make_is_made_on_the_cpu(
    make_engine: Callable[..., TensorRTEngine],
) -> None:
    engine = make_engine("raw")
    engine.choice = Choice(RawYolo("output0", 3), InputForm(resampling="antialiased"))
    assert engine.open_pictures() is PictureForm.ARRAY
