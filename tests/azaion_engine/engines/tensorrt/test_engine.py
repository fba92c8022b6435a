"""TensorRTEngine at run time: the same tests on a real GPU (`-m gpu`) and on a small fake of one."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from azaion_engine.cuda.graph import CudaGraph
from azaion_engine.cuda.libcuda import LibcudaError
from azaion_engine.cuda.staging import Staging
from azaion_engine.engines.tensorrt import engine as tensorrt_engine
from azaion_engine.engines.tensorrt import installed
from azaion_engine.engines.tensorrt.engine import TensorRTEngine
from azaion_engine.engines.tensorrt.run.batch_graph import BatchGraph, ExecutionFailedError
from azaion_engine.engines.tensorrt.run.resources import LANES
from azaion_engine.errors import (
    ConfigurationError,
    EngineClosedError,
    ExecutionError,
    GpuLostError,
    InvalidTensorError,
    PlanError,
)
from azaion_engine.pictures.prepared import PictureForm
from azaion_engine.plans.store import PlanStore
from tests.azaion_engine.conftest import MODELS, Cuda
from tests.azaion_engine.fakes.fake_tensorrt import MAGIC
from tests.azaion_engine.keys import KEY
from tests.azaion_engine.models import make_batch, reference_run

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


def assert_same_boxes(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], pixels: float) -> None:
    """Asserts that every expected row has a found one within `pixels`; near ties may swap places or classes."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    for ours, theirs in zip(found, expected, strict=True):
        same_class = []
        # Not the last rows: near ties decide which of them are among the best k.
        for row in theirs[: len(theirs) * 4 // 5]:
            distance = np.abs(ours[:, :4] - row[:4]).max(axis=1)
            best = distance.argmin()
            assert distance[best] < pixels, (row, ours[best])
            assert abs(ours[best, 4] - row[4]) < 0.01
            same_class.append(ours[best, 5] == row[5])
        assert np.mean(same_class) > 0.9


# --- results -------------------------------------------------------------------------------------


def test_dynamic_engine_gives_the_reference_boxes_for_every_count(make_engine: Any) -> None:
    engine = make_engine()
    assert (engine.get_batch_size(), engine.get_input_shape()) == (3, (64, 96))
    data = make_batch(8, 64, 96)
    expected = reference_run(MODELS["dynamic"][0], data)[0]
    # Batch sizes that grow and shrink, and one that needs several batches.
    for count in (1, 3, 2, 8, 1):
        (boxes,) = engine.run(data[:count])
        assert_same_boxes(boxes, expected[:count], 0.05)


def test_fixed_half_engine_pads_and_casts(make_engine: Any) -> None:
    engine = make_engine("fixed_half")
    assert (engine.get_batch_size(), engine.get_input_shape()) == (4, (64, 64))
    data = make_batch(6)
    expected = reference_run(MODELS["fixed_half"][0], data)[0]
    for count in (1, 4, 6):
        assert_same_boxes(engine.run(data[:count])[0], expected[:count], 0.5)
    assert_same_boxes(engine.run(data.astype(np.float16))[0], expected, 0.5)


def test_boxes_of_a_large_picture_stay_within_a_pixel_in_fp16(make_engine: Any) -> None:
    data = make_batch(1, 1280, 1280)
    expected = reference_run(MODELS["large"][0], data)[0]
    assert expected[..., :4].max() > 1100, "the test must reach where FP16 has a spacing of a pixel"
    assert_same_boxes(make_engine("large").run(data)[0], expected, 1.0)


def test_results_outlive_the_next_run(make_engine: Any) -> None:
    engine, data = make_engine(), make_batch(2, 64, 96)
    first = engine.run(data[:1])[0]
    kept = first.copy()
    engine.run(data[1:])
    assert np.array_equal(first, kept)


def test_any_memory_layout_is_fine_and_left_alone(make_engine: Any) -> None:
    engine, data = make_engine(), make_batch(2, 64, 96)
    expected = engine.run(data)[0]
    channels_last = np.ascontiguousarray(data.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not channels_last.flags.c_contiguous
    read_only = data.copy()
    read_only.flags.writeable = False
    for given in (channels_last, read_only, data[::-1][::-1]):
        assert np.allclose(engine.run(given)[0], expected, atol=1e-4)
    assert np.array_equal(read_only, data)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (np.zeros((1, 3, 64, 96), np.uint8), "dtype"),
        (np.zeros((1, 3, 64, 96), np.float64), "dtype"),
        (np.zeros((3, 64, 96), np.float32), "rank"),
        (np.zeros((1, 3, 96, 64), np.float32), "size"),
        (np.zeros((0, 3, 64, 96), np.float32), "size"),
        ([[1.0]], "NumPy"),
    ],
)
def test_wrong_arrays_are_named(make_engine: Any, given: Any, word: str) -> None:
    with pytest.raises(InvalidTensorError, match=word):
        make_engine().run(given)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_every_batch_size_gives_the_rows_of_the_reference(
    make_engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, graphs: bool
) -> None:
    def refuse(graph: CudaGraph, stream: Any, enqueue: Any) -> None:
        raise LibcudaError("not today")

    if not graphs:
        monkeypatch.setattr(CudaGraph, "__init__", refuse)
    engine = make_engine("wide")
    engine.warm_up()
    assert ("no CUDA graph" in caplog.text) != graphs
    data = make_batch(engine.get_batch_size() + 3)
    expected = reference_run(MODELS["wide"][0], data)[0]
    for count in range(1, len(data) + 1):
        assert_same_boxes(engine.run(data[:count])[0], expected[:count], 0.05)


def test_a_driver_that_records_no_graphs_is_no_trouble(cuda: Cuda, make_engine: Any) -> None:
    if not cuda.fake:
        pytest.skip("every driver that runs TensorRT records graphs")
    cuda.fake.graphs = False
    data = make_batch(2, 64, 96)
    assert_same_boxes(make_engine().run(data)[0], reference_run(MODELS["dynamic"][0], data)[0], 0.05)


def test_many_batches_of_large_arrays_go_through_all_lanes(make_engine: Any) -> None:
    data = make_batch(5, 640, 640)
    engine = make_engine("copied")
    assert engine.lanes == LANES
    assert_same_boxes(engine.run(data)[0], reference_run(MODELS["copied"][0], data)[0], 0.05)


@pytest.mark.parametrize("name", ["dynamic", "fixed_half"])
def test_arrays_in_pinned_memory_are_read_by_the_gpu_itself(
    cuda: Cuda, make_engine: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    engine = make_engine(name)
    rows = 2 * engine.get_batch_size() + 1
    data = make_batch(rows, *engine.get_input_shape())
    expected = engine.run(data)[0]
    pinned = engine.empty_input(rows)
    assert pinned.shape == data.shape
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "upload", None)  # not used
        for _ in range(2):
            pinned[...] = data
            assert np.allclose(engine.run(pinned)[0], expected, atol=0.05)
            pinned[...] = 0  # already copied
        assert np.allclose(engine.run(pinned[1:2])[0], engine.run(pinned)[0][:1], atol=0.05)
    pinned[...] = data
    assert np.allclose(engine.run(pinned[::-1])[0][::-1], expected, atol=0.05), "what is not contiguous is gathered"
    engine.close()
    assert np.array_equal(pinned, data.astype(pinned.dtype)), "the array outlives the engine"
    with pytest.raises(EngineClosedError):
        engine.empty_input(1)
    del pinned
    if cuda.fake:
        assert not cuda.fake.pinned_at


def test_more_pinned_memory_than_there_is_is_refused(make_engine: Any) -> None:
    with pytest.raises(ConfigurationError, match="pin"):
        make_engine().empty_input(2**30)


# --- threads -------------------------------------------------------------------------------------


def test_many_threads_get_their_own_rows(make_engine: Any) -> None:
    engine, data = make_engine(), make_batch(6, 64, 96)
    expected = engine.run(data)[0]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(5):
            if not np.allclose(engine.run(data[index : index + 1])[0][0], expected[index], atol=1e-2):
                wrong.append(index)
            engine.check_health()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_an_engine_made_here_may_be_closed_there(cuda: Cuda) -> None:
    warm_up(cuda, "dynamic")
    before = cuda.free_bytes()
    engine = TensorRTEngine(cuda.plan("dynamic"))
    assert cuda.free_bytes() < before
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join(60)
    assert cuda.free_bytes() == pytest.approx(before, abs=4 * 2**20)


def test_two_engines_live_side_by_side(make_engine: Any) -> None:
    one, two = make_engine(), make_engine("fixed_half")
    data = make_batch(1, 64, 96)
    expected = one.run(data)[0]
    two.run(make_batch(1))
    two.close()
    assert np.allclose(one.run(data)[0], expected, atol=1e-3)


# --- lifetime ------------------------------------------------------------------------------------


def warm_up(cuda: Cuda, name: str) -> None:
    """Opens and closes one engine first: kernels and caches that CUDA's libraries then load are never freed."""
    with TensorRTEngine(cuda.plan(name)) as engine:
        engine.run(make_batch(1, *engine.get_input_shape()))


def test_close_gives_the_memory_back_and_may_be_repeated(cuda: Cuda) -> None:
    warm_up(cuda, "fixed_half")
    before = cuda.free_bytes()
    for _ in range(3):
        engine = TensorRTEngine(cuda.plan("fixed_half"))
        engine.run(make_batch(1))
        engine.close()
        engine.close()
    assert cuda.free_bytes() == pytest.approx(before, abs=4 * 2**20)
    if cuda.fake:
        assert cuda.fake.pinned == 0
    with pytest.raises(EngineClosedError):
        engine.run(make_batch(1))
    with pytest.raises(EngineClosedError):
        engine.check_health()


def test_a_forgotten_engine_gives_its_memory_back(cuda: Cuda) -> None:
    warm_up(cuda, "dynamic")
    before = cuda.free_bytes()
    engine = TensorRTEngine(cuda.plan("dynamic"))
    del engine
    assert cuda.free_bytes() == pytest.approx(before, abs=4 * 2**20)


@pytest.mark.gpu
def test_the_interpreter_ends_cleanly_with_an_open_engine(cuda: Cuda, tmp_path: Any) -> None:
    if cuda.fake:
        pytest.skip("tells of CUDA's own shutdown")
    (tmp_path / "plan").write_bytes(cuda.plan("dynamic"))
    done = _in_another_process(
        """
        import threading
        threading.Thread(target=lambda: engine.run(data)).start()
        engine.run(data)
        print("ran", flush=True)
        """,
        tmp_path / "plan",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ran"), done.stderr
    assert "PyCUDA" not in done.stderr


# --- plans and options ---------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [lambda p: b"", lambda p: b"no plan at all" * 9, lambda p: p[: len(p) // 2]])
def test_an_unusable_plan_is_refused_with_tensorrts_words(cuda: Cuda, damage: Callable[[bytes], bytes]) -> None:
    before = cuda.free_bytes()
    with pytest.raises(PlanError, match=r"cannot use this plan of \d+ bytes here|plan is empty"):
        TensorRTEngine(damage(cuda.plan("dynamic")))
    assert cuda.free_bytes() == pytest.approx(before, abs=4 * 2**20)


@pytest.mark.parametrize("full_at", ["plan", "context"])
def test_a_full_gpu_costs_no_stored_plan_and_no_build(cuda: Cuda, tmp_path: Any, full_at: str) -> None:
    if not cuda.fake:
        pytest.skip("filling a real GPU would hurt its neighbours")
    builds = []

    def build() -> bytes:
        builds.append(1)
        return cuda.plan("dynamic")

    def start() -> None:
        engine, _ = PlanStore(tmp_path).get_or_build("tiny", "x.engine", KEY, build, TensorRTEngine)
        engine.close()

    start()
    stored = {path: path.read_bytes() for path in tmp_path.rglob("x.engine*")}
    cuda.fake.full_at = full_at
    with pytest.raises(ConfigurationError, match="memory"):
        start()
    cuda.fake.full_at = ""
    assert {path: path.read_bytes() for path in tmp_path.rglob("x.engine*")} == stored
    start()
    assert builds == [1]


def test_batch_and_size_must_fit_the_plan(make_engine: Any) -> None:
    assert make_engine(batch_size=2).get_batch_size() == 2
    assert make_engine("fixed_half", batch_size=1).get_batch_size() == 4
    with pytest.raises(ConfigurationError, match=r"batch_size 4 .* 1 to 3"):
        make_engine(batch_size=4)
    with pytest.raises(ConfigurationError, match="batch_size 0"):
        make_engine(batch_size=0)
    # The plan fixes height and width: other options are ignored, as in OnnxEngine.
    assert make_engine(height=640).get_input_shape() == (64, 96)
    with pytest.raises(TypeError, match="colour"):
        make_engine(colour="red")
    with pytest.raises(ConfigurationError, match="no GPU 99"):
        make_engine(device_id=99)


def test_a_plan_with_dynamic_size_takes_1280_or_what_comes_nearest(cuda: Cuda) -> None:
    if not cuda.fake:
        pytest.skip("this project's builder fixes the size; plans of others may not")

    def plan(low: int, high: int) -> bytes:
        profile = {"images": [[2, 3, low, low], [2, 3, low, low], [2, 3, high, high]]}
        return MAGIC + json.dumps({"profile": profile}).encode() + b"\0" + MODELS["dynamic"][0] + MAGIC

    for low, high, options, expected in (
        (64, 2048, {}, (1280, 1280)),
        (64, 640, {}, (640, 640)),
        (64, 640, {"height": 64, "width": 128}, (64, 128)),
    ):
        with TensorRTEngine(plan(low, high), **options) as engine:
            assert engine.get_input_shape() == expected
    with pytest.raises(ConfigurationError, match=r"width 32 .* 64 to 640"):
        TensorRTEngine(plan(64, 640), width=32)
    # The profile's minimum batch is 2: a single row is padded.
    data = make_batch(1)
    with TensorRTEngine(plan(64, 64), batch_size=1) as engine:
        assert engine.get_batch_size() == 1
        assert_same_boxes(engine.run(data)[0], reference_run(MODELS["dynamic"][0], data)[0], 0.05)


def test_a_plan_whose_profile_is_not_shared_runs_with_an_engine_a_context(
    cuda: Cuda, make_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if not cuda.fake:
        pytest.skip("this project's builder makes plans that share it")
    plan = cuda.plan("wide").replace(b'"shared": true', b'"shared": false')
    before = cuda.free_bytes()
    with caplog.at_level(logging.INFO), TensorRTEngine(plan) as engine:
        engine.warm_up()
        data = make_batch(7)
        assert_same_boxes(engine.run(data)[0], reference_run(MODELS["wide"][0], data)[0], 0.05)
        # 1, 2, 4, 8, 16 and 20 rows on each lane.
        assert len(engine._resources.plan._loaded) == 6 * LANES
    assert "does not share" in caplog.text
    assert cuda.free_bytes() == before


def test_who_opens_an_engine_for_pictures_waits_for_the_lanes_that_run(make_engine: Any) -> None:
    engine = make_engine()
    opening = threading.Thread(target=engine.open_pictures)
    with engine._pool().take():
        opening.start()
        opening.join(0.2)
        assert opening.is_alive()
    opening.join(60)
    taken = engine._form is not PictureForm.ARRAY  # where the driver loads the kernel
    assert [lane.loader is not None for lane in engine._resources.lanes] == [taken] * engine.lanes


def test_without_room_for_a_second_lane_there_is_one(
    cuda: Cuda, make_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if not cuda.fake:
        pytest.skip("filling a real GPU would hurt its neighbours")
    cuda.fake.full_at = "second context"
    engine = make_engine()
    assert engine.lanes == 1
    assert "batches at a time: 1, the GPU has no room for more" in caplog.text
    data = make_batch(4, 64, 96)
    assert_same_boxes(engine.run(data)[0], reference_run(MODELS["dynamic"][0], data)[0], 0.05)
    assert "batches of 1 run as 3" in caplog.text


def test_a_smaller_batch_slices(make_engine: Any) -> None:
    data = make_batch(3, 64, 96)
    expected = reference_run(MODELS["dynamic"][0], data)[0]
    assert_same_boxes(make_engine(batch_size=2).run(data)[0], expected, 0.05)


def test_static_questions(cuda: Cuda) -> None:
    name = TensorRTEngine.get_engine_filename()
    assert name is not None
    assert name.startswith("azaion.cc_")
    assert name.endswith(".engine")
    assert TensorRTEngine.get_gpu_memory_bytes() > 2**30
    if cuda.fake:
        assert name == "azaion.cc_9.0_sm_132.engine"
    assert TensorRTEngine.get_engine_filename(99) is None


def test_name_tells_the_runtime(make_engine: Any) -> None:
    assert make_engine().name == f"{installed.load().flavour}-{installed.load().version}"


# --- failures ------------------------------------------------------------------------------------


def test_health_does_not_wait_behind_a_batch(make_engine: Any) -> None:
    engine = make_engine()
    engine.check_health()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with engine._on_lanes(LANES, 0):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    checked = threading.Thread(target=engine.check_health)
    checked.start()
    checked.join(5)
    hung = checked.is_alive()
    leave.set()
    thread.join(30)
    assert not hung


def test_a_batch_that_never_ends_is_a_lost_gpu(cuda: Cuda, make_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cuda.fake:
        pytest.skip("only a fake GPU can be hung and freed again")
    engine = make_engine()
    entered, leave = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        leave.wait(30)

    cuda.fake.before_execution = hang
    thread = threading.Thread(target=engine.run, args=(make_batch(1, 64, 96),))
    thread.start()
    try:
        assert entered.wait(30)
        engine.check_health()
        monkeypatch.setattr(tensorrt_engine, "_HUNG_AFTER_S", 0.0)
        with pytest.raises(GpuLostError, match="hangs"):
            engine.check_health()
    finally:
        leave.set()
        thread.join(30)
    engine.check_health()


def test_a_lost_gpu_is_remembered(cuda: Cuda, make_engine: Any, tmp_path: Any) -> None:
    if cuda.fake:
        engine = make_engine()
        cuda.fake.before_execution = lambda: setattr(cuda.fake, "lost", True)
        with pytest.raises(GpuLostError, match="launch failure"):
            engine.run(make_batch(1, 64, 96))
        cuda.fake.before_execution, cuda.fake.lost = None, False
        for question in (engine.check_health, lambda: engine.run(make_batch(1, 64, 96))):
            with pytest.raises(GpuLostError):
                question()
        return
    (tmp_path / "plan").write_bytes(cuda.plan("dynamic"))
    done = _in_another_process(
        """
        from azaion_engine.errors import GpuLostError
        engine.run(data)
        ptx = b".version 6.5\\n.target sm_75\\n.address_size 64\\n.visible .entry boom() { trap; ret; }\\n"
        with engine._context.active():
            boom = engine._context.driver.module_from_buffer(ptx).get_function("boom")
            boom(block=(1, 1, 1), grid=(1, 1))
        for question in (lambda: engine.run(data), engine.check_health, lambda: engine.run(data)):
            try:
                question()
            except GpuLostError as error:
                print("lost", flush=True)
        engine.close()
        """,
        tmp_path / "plan",
    )
    assert done.stdout.split() == ["lost"] * 3, done.stderr


def test_an_idle_engine_finds_the_lost_gpu_at_the_health_check(cuda: Cuda, make_engine: Any) -> None:
    if not cuda.fake:
        pytest.skip("only a fake GPU comes back for the next test")
    engine = make_engine()
    cuda.fake.lost = True
    with pytest.raises(GpuLostError):
        engine.check_health()


def test_closing_on_a_lost_gpu_does_not_raise(cuda: Cuda, caplog: pytest.LogCaptureFixture) -> None:
    if not cuda.fake:
        pytest.skip("only a fake GPU comes back for the next test")
    engine = TensorRTEngine(cuda.plan("dynamic"))
    cuda.fake.lost = True
    with caplog.at_level(logging.WARNING):
        engine.close()
    assert "cannot free" in caplog.text


def test_a_failed_batch_is_not_a_lost_gpu(make_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()

    def refuse(*args: Any) -> None:
        raise ExecutionFailedError("TensorRT did not start the execution")

    with monkeypatch.context() as patch:
        patch.setattr(BatchGraph, "enqueue", refuse)
        with pytest.raises(ExecutionError, match="did not start"):
            engine.run(make_batch(1, 64, 96))
    engine.check_health()
    assert engine.run(make_batch(1, 64, 96))[0].shape == (1, 10, 6)


def _in_another_process(body: str, plan: Any) -> subprocess.CompletedProcess[str]:
    import textwrap

    head = """
        import sys
        from azaion_engine.engines.tensorrt.engine import TensorRTEngine
        from tests.azaion_engine.models import make_batch
        engine = TensorRTEngine(open(sys.argv[1], "rb").read())
        data = make_batch(2, 64, 96)
        """
    code = textwrap.dedent(head) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", code, str(plan)], capture_output=True, text=True, timeout=120, check=False
    )
