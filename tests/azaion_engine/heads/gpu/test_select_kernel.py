"""select.cu: the same rows as the heads give, as C++ where there is a compiler, and on a GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from azaion_engine.cuda.memory import DeviceBuffer
from azaion_engine.heads.base import Head, Keypoints
from azaion_engine.heads.gpu.select_kernel import (
    LAYOUT,
    MOMENTS,
    MOVED,
    PTX,
    WANTED,
    SelectKernel,
    make_layout,
    make_wanted,
)
from azaion_engine.heads.oriented import OrientedYolo
from azaion_engine.heads.yolo import ObjectnessYolo, RawYolo
from azaion_engine.heads.yolox import UndecodedYolox, Yolox
from azaion_engine.pictures.prepared import MOST_BOXES, Selection
from tests.azaion_engine.cu_as_cpp import compile_as_cpp

GLUE = """
extern "C" int layout_size() { return sizeof(Layout); }
extern "C" int wanted_size() { return sizeof(Wanted); }
extern "C" void run(
    int oriented, int half, const void* values, const Layout* layout, const Wanted* wanted, int pictures,
    unsigned long long* keys, float* found, float* moved, int* counts, int* picked, float* rows) {
    for (blockIdx.z = 0; blockIdx.z < pictures; ++blockIdx.z) {
        for (blockIdx.x = layout->anchors - 1; blockIdx.x >= 0; --blockIdx.x)  // in any order
            if (oriented)
                half ? candidates_oriented_float16((const unsigned short*)values, layout, wanted, keys, found, counts)
                     : candidates_oriented_float32((const float*)values, layout, wanted, keys, found, counts);
            else
                half ? candidates_float16((const unsigned short*)values, layout, wanted, keys, found, counts)
                     : candidates_float32((const float*)values, layout, wanted, keys, found, counts);
        blockIdx.x = 0;
        if (oriented) suppress_oriented(layout, wanted, keys, found, moved, counts, rows);
        else suppress_rows(layout, wanted, keys, found, moved, counts, picked, rows);
        for (blockIdx.x = 0; blockIdx.x < layout->most * layout->keypoints; ++blockIdx.x)
            half ? keypoints_float16((const unsigned short*)values, layout, picked, rows)
                 : keypoints_float32((const float*)values, layout, picked, rows);
    }
}
"""

SIZE = (320, 448)
CELLS = sum((SIZE[0] // stride) * (SIZE[1] // stride) for stride in (8, 16, 32))
Select = Callable[[Head, NDArray[Any], Sequence[Selection]], NDArray[np.float32]]
"""A head, its output of a batch, what is wanted → float32 `[batch, MOST_BOXES, columns]`."""


@pytest.fixture(scope="module")
def select_as_cpp(tmp_path_factory: pytest.TempPathFactory) -> Select:
    library = compile_as_cpp(PTX.with_suffix(".cu"), GLUE, tmp_path_factory.mktemp("select"))
    assert (library.layout_size(), library.wanted_size()) == (LAYOUT.itemsize, WANTED.itemsize)

    def select(head: Head, values: NDArray[Any], selections: Sequence[Selection]) -> NDArray[np.float32]:
        raw = head.raw_layout()
        layout = make_layout(raw, values.shape, SIZE, MOST_BOXES)
        batch, capacity = len(values), int(layout["capacity"][0])
        wanted = np.zeros(batch, WANTED)
        wanted[: len(selections)] = make_wanted(raw, selections)
        columns, room = (7, MOMENTS) if raw.oriented else (6, MOVED)
        keys, counts = np.full((batch, capacity), 7, np.uint64), np.zeros(batch, np.int32)
        found = np.full((batch, int(layout["anchors"][0]), columns), -1, np.float32)
        moved, picked = np.empty((batch, capacity, room), np.float32), np.full((batch, MOST_BOXES), 3, np.int32)
        rows = np.full((batch, MOST_BOXES, head.row_columns), -1, np.float32)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (values, layout, wanted)]
        others = [array.ctypes.data_as(ctypes.c_void_p) for array in (keys, found, moved, counts, picked, rows)]
        library.run(raw.oriented, values.dtype == np.float16, *pointers, batch, *others)
        assert not counts.any(), "the next batch begins at zero"
        return rows

    return select


@pytest.fixture
def select_on_gpu() -> Select:
    from azaion_engine.cuda.context import cuda_context, make_stream

    context = cuda_context(0)

    def select(head: Head, values: NDArray[Any], selections: Sequence[Selection]) -> NDArray[np.float32]:
        with context.active():
            stream = make_stream(context.driver)
            device = DeviceBuffer(context.driver, values.shape, values.dtype)
            device.host[:] = values
            device.upload(device.host, stream)
            kernel = SelectKernel(context.driver, head.raw_layout(), device, SIZE, MOST_BOXES, stream)
            for wanted in ([], selections, selections):  # the next batch finds clean counters
                kernel.want(wanted)
                kernel.enqueue(len(selections), stream)
                stream.synchronize()
            rows = kernel.rows.host[: len(selections)].copy()
            kernel.free()
            device.free()
        return rows

    return select


@pytest.fixture(params=["cpp", pytest.param("gpu", marks=pytest.mark.gpu)])
def select(request: pytest.FixtureRequest) -> Select:
    chosen: Select = request.getfixturevalue({"cpp": "select_as_cpp", "gpu": "select_on_gpu"}[request.param])
    return chosen


def output_of(head: Head, batch: int, lively: float, seed: int) -> NDArray[np.float32]:
    """Returns an output `[batch, …, …]` in which a share of the anchors has boxes, in clusters that overlap."""
    random = np.random.default_rng(seed)
    raw = head.raw_layout()
    assert raw is not None
    anchors = CELLS * (3 if type(head) is ObjectnessYolo else 1)
    first = 5 if raw.objectness else 4
    points = raw.keypoints.columns if raw.keypoints else 0
    values = np.zeros((batch, first + raw.classes + raw.oriented + points, anchors), np.float32)
    centres = random.uniform(40, 280, (12, 2))[random.integers(0, 12, (batch, anchors))]
    values[:, 0:2] = (centres + random.normal(0, 6, centres.shape)).transpose(0, 2, 1)
    values[:, 2:4] = random.uniform(20, 90, (batch, 2, anchors))
    if raw.grid:
        values[:, 0:2], values[:, 2:4] = random.normal(0.5, 0.5, (2, batch, 2, anchors))
    values[:, 4:] = random.uniform(0, 1, values[:, 4:].shape) * (random.random((batch, 1, anchors)) < lively)
    if points:
        values[:, -points:] = random.uniform(-9, 400, (batch, points, anchors))
    if raw.oriented:
        values[:, -1] = random.uniform(-0.8, 2.4, (batch, anchors))
    return np.ascontiguousarray(values.transpose(0, 2, 1) if raw.anchors_first else values)


HEADS = {
    "candidates last": RawYolo("o", 5),
    "one class": RawYolo("o", 1),
    "candidates first": RawYolo("o", 80, last=False),
    "other class ids": RawYolo("o", 3, class_offset=-1),
    "yolov5": ObjectnessYolo("o", 3),
    "yolox": Yolox("o", 4),
    "yolox on its grid": UndecodedYolox("o", 4),
    "keypoints": RawYolo("o", 2, keypoints=Keypoints(17)),
    "keypoints without visibility, candidates first": RawYolo("o", 1, last=False, keypoints=Keypoints(5, 2)),
    "oriented": OrientedYolo("o", 5),
    "oriented, one class": OrientedYolo("o", 1),
    "oriented, candidates first": OrientedYolo("o", 15, last=False, class_offset=1),
}


def assert_same(head: Head, values: NDArray[Any], wanted: Sequence[Selection], rows: NDArray[np.float32]) -> int:
    expected = head.rows({"o": values.astype(np.float32)}, SIZE, wanted)
    for one, found in zip(expected, rows, strict=True):
        # Only the grid's exponential may differ in its last bit.
        np.testing.assert_allclose(found[: len(one)], one, rtol=0, atol=1e-3 if isinstance(head, UndecodedYolox) else 0)
        assert not found[len(one) :].any()
    return sum(map(len, expected))


@pytest.mark.parametrize("lively", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("kind", HEADS)
def test_the_rows_are_those_of_the_head(select: Select, kind: str, lively: float) -> None:
    head = HEADS[kind]
    values = output_of(head, 3, lively, seed=len(kind))
    wanted = [
        Selection(0.25, class_agnostic=True),
        Selection(0.001, iou=0.5),
        Selection(0.6, iou=0.9, max_detections=20),
    ]
    boxes = assert_same(head, values, wanted, select(head, values, wanted))
    assert boxes > 20 or lively < 0.3


@pytest.mark.parametrize(
    "head",
    [RawYolo("o", 5), OrientedYolo("o", 5), RawYolo("o", 1, keypoints=Keypoints(4))],
    ids=["upright", "oriented", "keypoints"],
)
def test_half_precision_is_read(select: Select, head: Head) -> None:
    values = output_of(head, 2, 0.3, seed=3).astype(np.float16)
    assert assert_same(head, values, [Selection()] * 2, select(head, values, [Selection()] * 2)) > 20


@pytest.mark.parametrize("head", [RawYolo("o", 1), OrientedYolo("o", 1)], ids=["upright", "oriented"])
def test_of_equal_scores_the_earlier_anchor_comes_first(select: Select, head: Head) -> None:
    values = output_of(head, 1, 1.0, seed=4)
    values[:, 4] = np.round(values[:, 4], 1)
    assert assert_same(head, values, [Selection(0.3)], select(head, values, [Selection(0.3)])) > 20


def test_boxes_without_area_suppress_nothing(select: Select) -> None:
    head = RawYolo("o", 1)
    values = np.zeros((1, 5, CELLS), np.float32)
    values[0, :, :3] = np.array([[10, 10, 0, 0, 0.9], [10, 10, 0, 0, 0.8], [10, 10, 4, 4, 0.7]]).T
    assert assert_same(head, values, [Selection()], select(head, values, [Selection()])) == 3


def test_a_chain_of_oriented_boxes_keeps_its_first_one(select: Select) -> None:
    head = OrientedYolo("o", 1)
    values = np.zeros((1, 6, CELLS), np.float32)
    values[0, :, :4] = np.array([[10 + 6 * i, 20, 40, 40, 0.9 - i / 10, 0.3] for i in range(4)]).T
    assert assert_same(head, values, [Selection()], select(head, values, [Selection()])) == 1


def test_an_overlap_that_no_two_boxes_have_drops_none(select: Select) -> None:
    head = OrientedYolo("o", 1)
    values = np.zeros((1, 6, CELLS), np.float32)
    values[0, :, :3] = np.array([[50, 20, 40, 10, 0.9, 0.3]] * 3).T
    wanted = [Selection(iou=1.0)]
    assert assert_same(head, values, wanted, select(head, values, wanted)) == 3


@pytest.mark.parametrize("head", [RawYolo("o", 5), OrientedYolo("o", 5)], ids=["upright", "oriented"])
def test_of_pictures_beyond_the_batch_no_rows_are_made(select_as_cpp: Select, head: Head) -> None:
    values = output_of(head, 3, 0.3, seed=6)
    rows = select_as_cpp(head, values, [Selection()])
    assert assert_same(head, values[:1], [Selection()], rows[:1]) > 20
    assert not rows[1:].any()
