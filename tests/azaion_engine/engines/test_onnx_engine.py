from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import onnx
import pytest

from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.errors import ConfigurationError, EngineClosedError, ExecutionError, InvalidTensorError, ModelError
from azaion_engine.model.file import ModelFile
from tests.azaion_engine.models import make_batch, make_detector, reference_run


def test_dynamic_sizes_become_1280_and_the_batch_1():
    with OnnxEngine(make_detector(height=None, width=None)) as engine:
        assert engine.get_input_shape() == (1280, 1280)
        assert engine.get_batch_size() == 1


def test_dynamic_sizes_and_batch_come_from_the_constructor():
    with OnnxEngine(make_detector(height=None, width=None), batch_size=4, height=64, width=96) as engine:
        assert engine.get_input_shape() == (64, 96)
        assert engine.get_batch_size() == 4


def test_what_the_model_fixes_is_honoured():
    with OnnxEngine(make_detector(height=64, width=96, batch=2), batch_size=8, height=128, width=128) as engine:
        assert engine.get_input_shape() == (64, 96)
        assert engine.get_batch_size() == 2


@pytest.mark.parametrize("fixed", [None, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_any_number_of_rows_gives_as_many_answers(fixed, rows):
    model = make_detector(batch=fixed)
    batch = make_batch(rows, 64, 64)
    with OnnxEngine(model, batch_size=3) as engine:
        [found] = engine.run(batch)
    assert found.shape == (rows, 10, 6)
    assert found.dtype == np.float32
    for row in range(rows):
        expected = reference_run(make_detector(), batch[row : row + 1])[0]
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-4, atol=1e-3)


def test_half_precision_models_take_and_give_what_others_do():
    batch = make_batch(2, 64, 64)
    with OnnxEngine(make_detector(io_dtype="float16"), batch_size=2) as half, OnnxEngine(make_detector()) as full:
        [found], [expected] = half.run(batch), full.run(batch)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[:, :, :4], expected[:, :, :4], atol=0.1)
        np.testing.assert_array_equal(half.run(batch.astype(np.float16))[0], found)


def test_an_input_to_be_filled_is_what_the_model_takes():
    with OnnxEngine(make_detector()) as engine:
        rows = engine.empty_input(2)
        rows[...] = make_batch(2, 64, 64)
        assert rows.dtype == np.float32
        assert engine.run(rows)[0].shape[0] == 2


def test_read_only_and_non_contiguous_arrays_work():
    batch = make_batch(2, 64, 64)
    with OnnxEngine(make_detector()) as engine:
        expected = engine.run(batch)[0]
        strided = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        strided.flags.writeable = False
        np.testing.assert_array_equal(engine.run(strided)[0], expected)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (np.zeros((1, 3, 64, 64), np.uint8), "wrong dtype.*float32.*uint8"),
        (np.zeros((1, 3, 64, 64)), "wrong dtype.*float64"),
        (np.zeros((3, 64, 64), np.float32), r"wrong rank.*\[n, 3, 64, 64\].*\[3, 64, 64\]"),
        (np.zeros((1, 3, 64, 32), np.float32), r"wrong size.*\[1, 3, 64, 32\]"),
        (np.zeros((0, 3, 64, 64), np.float32), r"wrong size.*\[0, 3, 64, 64\]"),
        ([[1.0]], "NumPy array.*list"),
    ],
)
def test_a_wrong_array_is_refused_with_what_was_expected_and_given(bad, complaint):
    with OnnxEngine(make_detector()) as engine, pytest.raises(InvalidTensorError, match=complaint):
        engine.run(bad)


def test_many_threads_get_their_own_answers():
    batches = [make_batch(1, 64, 64, seed=seed) for seed in range(8)]
    with OnnxEngine(make_detector()) as engine:
        expected = [engine.run(batch)[0] for batch in batches]
        found: list[np.ndarray | None] = [None] * 8

        def work(number: int) -> None:
            for _ in range(5):
                found[number] = engine.run(batches[number])[0]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Session:
    """A session whose runs wait until so many are within it, or until it is told to go on."""

    def __init__(self, session: object, together: int) -> None:
        self._session = session
        self.begun = threading.Barrier(together + 1)
        self.goes_on = threading.Event()

    def run(self, *given: object) -> object:
        self.begun.wait(10)
        self.goes_on.wait(10)
        return self._session.run(*given)


def test_each_lane_runs_a_batch_of_its_own_and_closing_waits_for_all():
    batches = [make_batch(1, 64, 64, seed=seed) for seed in range(2)]
    engine = OnnxEngine(make_detector(), threads=4, lanes=2)
    assert engine.lanes == 2
    expected = [engine.run(batch)[0] for batch in batches]
    engine._session = session = Session(engine._session, together=2)
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(engine.run, batch) for batch in batches]
        session.begun.wait(10)  # both are within
        late = threads.submit(engine.run, batches[0])
        closing = threads.submit(engine.close)
        assert not wait([late, closing], timeout=0.2).done
        session.begun = threading.Barrier(1)  # the late one may still find a lane
        session.goes_on.set()
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.result()[0], other)
        closing.result()
        assert late.exception() is None or isinstance(late.exception(), EngineClosedError)
    with pytest.raises(EngineClosedError):
        engine.run(batches[0])


def test_there_are_no_more_lanes_than_threads():
    with OnnxEngine(make_detector(), threads=2, lanes=4) as engine:
        assert engine.lanes == 2


def test_closing_twice_is_fine_and_running_after_it_is_not():
    engine = OnnxEngine(make_detector())
    engine.check_health()
    engine.close()
    engine.close()
    with pytest.raises(EngineClosedError):
        engine.run(make_batch(1, 64, 64))
    with pytest.raises(EngineClosedError):
        engine.check_health()


def test_a_raw_head_is_given_as_the_network_gave_it():
    model, batch = make_detector(output="raw"), make_batch(3, 64, 64)
    with OnnxEngine(model, batch_size=2) as engine:
        [found] = engine.run(batch)
        assert engine.output_names == ("output0",)
    np.testing.assert_allclose(found, reference_run(model, batch)[0], rtol=1e-4, atol=1e-3)


def test_what_finds_no_boxes_is_refused_with_what_is_read():
    model = onnx.load_model_from_string(make_detector())
    del model.graph.output[0].type.tensor_type.shape.dim[1:]
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1000
    with pytest.raises(ModelError, match="classifier"):
        OnnxEngine(model.SerializeToString())


def test_what_is_no_onnx_file_is_refused():
    with pytest.raises(ModelError, match="not an ONNX file"):
        OnnxEngine(b"rubbish")


def test_a_model_of_other_inputs_is_refused():
    model = onnx.load_model_from_string(make_detector())
    extra = onnx.helper.make_tensor_value_info("extra", onnx.TensorProto.FLOAT, [1])
    model.graph.input.append(extra)
    with pytest.raises(ModelError, match="extra"):
        OnnxEngine(model.SerializeToString())


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(TypeError, match="workspace"):
        OnnxEngine(make_detector(), workspace=1)


def test_warming_up_runs_each_size_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run_batch = OnnxEngine._run_batch

    def noted(engine: OnnxEngine, rows: np.ndarray, names: Sequence[str]) -> list[np.ndarray]:
        ran.append(len(rows))
        return run_batch(engine, rows, names)

    monkeypatch.setattr(OnnxEngine, "_run_batch", noted)
    with OnnxEngine(make_detector(height=32, width=32), batch_size=3) as engine:
        engine.warm_up()
    assert ran == [1, 3, 1, 3]


def averaging_model(*outputs: str) -> bytes:
    """Makes a model of dynamic batch that averages its whole input: `mean` is a scalar, `rows` is `[1, 5, 6]`."""
    make = onnx.helper
    kinds = {"mean": (), "rows": (1, 5, 6)}
    graph = make.make_graph(
        [
            make.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=0),
            make.make_node("Add", ["mean", "zeros"], ["rows"]),
        ],
        "averaging",
        [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, kinds[name]) for name in outputs],
        [onnx.numpy_helper.from_array(np.zeros((1, 5, 6), np.float32), "zeros")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("outputs", "rows", "complaint"),
    [(["rows"], 4, r"'rows' is \[1, 5, 6\] for 4 pictures"), (["rows", "mean"], 1, r"'mean' is \[\] for 1 pictures")],
)
def test_an_output_without_a_row_for_each_picture_is_refused(outputs, rows, complaint):
    engine = OnnxEngine(averaging_model(*outputs), batch_size=4)
    with pytest.raises(ModelError, match=complaint):
        engine.run(np.zeros((rows, 3, 8, 8), np.float32))


def test_a_size_that_the_model_cannot_run_at_is_told():
    engine = OnnxEngine(ModelFile.read("demo").data, height=40, width=40)
    with pytest.raises(ExecutionError, match=r"(?s)\[1, 3, 40, 40\].*multiples of 32"):
        engine.warm_up()


@pytest.mark.parametrize("option", ["batch_size", "height", "width", "threads", "lanes"])
def test_an_option_below_one_is_refused_by_name(option):
    with pytest.raises(ConfigurationError, match=f"{option} must be at least 1, given -5"):
        OnnxEngine(make_detector(), **{option: -5})


def test_a_model_may_leave_its_outputs_rank_open_and_not_its_type():
    model = onnx.load_model_from_string(averaging_model("rows"))
    model.graph.output[0].type.tensor_type.ClearField("shape")
    [found] = OnnxEngine(model.SerializeToString()).run(np.zeros((1, 3, 8, 8), np.float32))
    assert found.shape == (1, 5, 6)
    model.graph.input[0].type.tensor_type.elem_type = 99
    with pytest.raises(ModelError, match="unknown"):
        OnnxEngine(model.SerializeToString())


def test_what_onnx_runtime_refuses_is_one_line_and_nothing_on_stdout(capfd):
    garbled = make_detector().replace(b"Sigmoid", b"\xff" * 7)
    unknown = make_detector(unknown_op=True)
    for model in (garbled, unknown):
        with pytest.raises(ModelError, match="ONNX Runtime cannot load the model: ") as raised:
            OnnxEngine(model)
        assert "\n" not in str(raised.value)
    assert capfd.readouterr().out == ""
