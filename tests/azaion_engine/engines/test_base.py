"""InferenceEngine: batches of pictures, the retry of each picture alone, input checks, warm-up and closing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from azaion_engine.engines.base import Found, InferenceEngine
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.errors import (
    EngineClosedError,
    ExecutionError,
    GpuLostError,
    InvalidTensorError,
    ModelError,
    UndecodablePictureError,
)
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import ArrayPicture, JpegPicture, LoadablePicture, PixelPicture, PreparedBatch
from tests.azaion_engine.models import make_batch, make_detector

SIDE = 8
LETTERBOX = Letterbox.fit(SIDE, SIDE, SIDE, SIDE)


class NumberEngine(InferenceEngine):
    """Finds in each picture one box, whose class is the picture's number; raises what `failures` has for a number."""

    def __init__(self, failures: dict[int, Exception] | None = None, found: tuple[int, ...] = (1, 6)) -> None:
        super().__init__()
        self.failures = failures or {}
        self.ran: list[list[int]] = []
        self.released = 0
        self._found = found

    @property
    def name(self) -> str:
        return "numbers"

    def get_input_shape(self) -> tuple[int, int]:
        return SIDE, SIDE

    def get_batch_size(self) -> int:
        return 4

    def _run(self, data: NDArray[Any]) -> list[NDArray[Any]]:
        return [np.stack(self._find([round(float(row[0, 0, 0])) for row in data]))]

    def _release(self) -> None:
        self.released += 1

    def _find(self, numbers: list[int]) -> list[NDArray[np.float32]]:
        self.ran.append(numbers)
        for number in numbers:
            if number in self.failures:
                raise self.failures[number]
        return [np.full(self._found, number, np.float32) for number in numbers]


class LoadingEngine(NumberEngine):
    """Loads pictures itself as well, and finds the odd JPEGs damaged."""

    def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
        found: list[Found] = list(self._find([number_of(picture) for picture in pictures]))
        for i, picture in enumerate(pictures):
            if isinstance(picture, JpegPicture) and number_of(picture) % 2:
                found[i] = UndecodablePictureError(f"JPEG {number_of(picture)}")
        return found


def array(number: int, side: int = SIDE) -> ArrayPicture:
    return ArrayPicture(LETTERBOX, np.full((3, side, side), number, np.float32))


def pixels(number: int) -> PixelPicture:
    return PixelPicture(LETTERBOX, np.full((SIDE, SIDE, 3), number, np.uint8))


def jpeg(number: int) -> JpegPicture:
    return JpegPicture(LETTERBOX, bytes([number]))


def number_of(picture: LoadablePicture) -> int:
    return picture.jpeg[0] if isinstance(picture, JpegPicture) else int(picture.pixels[0, 0, 0])


def numbers(found: Sequence[Found]) -> list[int | str]:
    """Returns the number that was found in each picture, or the message of its error."""
    return [str(one) if isinstance(one, Exception) else int(one[0, 5]) for one in found]


def test_pictures_of_every_form_run_together_and_keep_their_order() -> None:
    engine = LoadingEngine()
    pictures = [pixels(10), array(1), jpeg(20), array(2), array(3), pixels(11)]
    assert numbers(engine.run_pictures(PreparedBatch(pictures))) == [10, 1, 20, 2, 3, 11]
    assert engine.ran == [[1, 2, 3], [10, 20, 11]]


def test_a_batch_of_one_form_runs_only_that() -> None:
    engine = LoadingEngine()
    assert numbers(engine.run_pictures(PreparedBatch([array(1), array(2)]))) == [1, 2]
    assert numbers(engine.run_pictures(PreparedBatch([jpeg(4), pixels(5)]))) == [4, 5]
    assert engine.ran == [[1, 2], [4, 5]]


def test_no_pictures_give_nothing_and_run_nothing() -> None:
    engine = LoadingEngine()
    assert engine.run_pictures(PreparedBatch([])) == []
    assert engine.ran == []


@pytest.mark.parametrize("bad", range(3))
def test_a_picture_that_the_engine_fails_on_fails_alone(bad: int, caplog: pytest.LogCaptureFixture) -> None:
    error = ExecutionError(f"poisoned by {bad}")
    engine = NumberEngine({bad: error})
    with caplog.at_level(logging.ERROR):
        found = engine.run_pictures(PreparedBatch([array(number) for number in range(3)]))
    assert found[bad] is error
    assert numbers(found) == [f"poisoned by {bad}" if number == bad else number for number in range(3)]
    assert engine.ran == [[0, 1, 2], [0], [1], [2]]
    [line] = caplog.records
    assert "a batch of 3 failed" in line.getMessage()
    assert line.exc_info is not None
    assert line.exc_info[1] is error


def test_several_that_fail_each_get_their_own_error() -> None:
    engine = LoadingEngine({1: ExecutionError("array"), 30: ExecutionError("pixels")})
    pictures = [array(1), pixels(30), array(2), jpeg(40)]
    assert numbers(engine.run_pictures(PreparedBatch(pictures))) == ["array", "pixels", 2, 40]


def test_a_lone_picture_that_fails_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    engine = NumberEngine({7: ExecutionError("poisoned")})
    assert numbers(engine.run_pictures(PreparedBatch([array(7)]))) == ["poisoned"]
    assert engine.ran == [[7]]
    assert not caplog.records


def test_a_failure_of_the_batch_and_of_no_picture_costs_nothing() -> None:
    class SmallEngine(NumberEngine):
        def _find(self, numbers: list[int]) -> list[NDArray[np.float32]]:
            found = super()._find(numbers)
            if len(numbers) > 1:
                raise MemoryError("a batch does not fit")
            return found

    engine = SmallEngine()
    assert numbers(engine.run_pictures(PreparedBatch([array(1), array(2)]))) == [1, 2]
    assert engine.ran == [[1, 2], [1], [2]]


def test_a_picture_that_the_gpu_cannot_decode_has_its_error_and_no_other_runs_twice() -> None:
    engine = LoadingEngine()
    found = engine.run_pictures(PreparedBatch([jpeg(2), jpeg(3), array(1)]))
    assert numbers(found) == [2, "JPEG 3", 1]
    assert isinstance(found[1], UndecodablePictureError)
    assert engine.ran == [[1], [2, 3]]


@pytest.mark.parametrize("kind", [GpuLostError, EngineClosedError])
def test_the_end_of_the_engine_is_raised_and_no_picture_tried_again(kind: type[Exception]) -> None:
    for engine, picture in ((NumberEngine({5: kind("gone")}), array), (LoadingEngine({5: kind("gone")}), pixels)):
        with pytest.raises(kind, match="gone"):
            engine.run_pictures(PreparedBatch([picture(4), picture(5)]))
        assert engine.ran == [[4, 5]]
        with pytest.raises(kind, match="gone"):
            engine.run_pictures(PreparedBatch([picture(5)]))


def test_a_gpu_that_is_lost_while_each_is_tried_alone_ends_the_batch() -> None:
    engine = NumberEngine({1: ExecutionError("poisoned"), 2: GpuLostError("gone")})
    with pytest.raises(GpuLostError, match="gone"):
        engine.run_pictures(PreparedBatch([array(number) for number in range(4)]))
    assert engine.ran == [[0, 1, 2, 3], [0], [1], [2]]


def test_an_array_of_another_size_fails_alone() -> None:
    found = NumberEngine().run_pictures(PreparedBatch([array(1), array(2, side=16), array(3)]))
    assert isinstance(found[1], InvalidTensorError)
    assert numbers(found) == [1, str(found[1]), 3]


def test_an_engine_of_arrays_refuses_other_forms_and_runs_the_arrays_beside_them() -> None:
    found = NumberEngine().run_pictures(PreparedBatch([array(1), pixels(2), jpeg(3)]))
    assert numbers(found) == [1, "numbers takes arrays, given PixelPicture", "numbers takes arrays, given JpegPicture"]
    assert isinstance(found[1], InvalidTensorError)


def test_a_picture_without_a_row_is_an_error_and_no_other_pictures_rows() -> None:
    class ForgetfulEngine(LoadingEngine):
        def _run_loadable(self, pictures: Sequence[LoadablePicture]) -> Sequence[Found]:
            return super()._run_loadable(pictures)[1:]

    found = ForgetfulEngine().run_pictures(PreparedBatch([pixels(1), pixels(2), array(3)]))
    assert isinstance(found[0], Exception)
    assert isinstance(found[1], Exception)
    assert numbers(found[2:]) == [3]


def test_a_real_engine_finds_in_pictures_what_it_finds_in_their_arrays() -> None:
    rows = make_batch(3)
    letterbox = Letterbox.fit(64, 64, 64, 64)
    with OnnxEngine(make_detector(), batch_size=2) as engine:
        [expected] = engine.run(rows)
        found = engine.run_pictures(PreparedBatch([ArrayPicture(letterbox, row) for row in rows]))
        [alone] = engine.run_pictures(PreparedBatch([ArrayPicture(letterbox, rows[1])]))
    assert len(found) == 3
    for one, row in zip([*found, alone], [*expected, expected[1]], strict=True):
        np.testing.assert_allclose(one, row, rtol=1e-4, atol=1e-3)


def test_a_closed_engine_runs_no_picture() -> None:
    engine = OnnxEngine(make_detector())
    engine.close()
    letterbox = Letterbox.fit(64, 64, 64, 64)
    with pytest.raises(EngineClosedError):
        engine.run_pictures(PreparedBatch([ArrayPicture(letterbox, row) for row in make_batch(2)]))


def test_an_output_that_its_head_does_not_have_is_a_model_error() -> None:
    with pytest.raises(ModelError):
        NumberEngine(found=(1, 7)).run_arrays(np.zeros((1, 3, SIDE, SIDE), np.float32))


def test_by_default_one_batch_gains_and_only_a_full_one_is_started_beside_it() -> None:
    engine = NumberEngine()
    assert engine.lanes == 1
    assert engine.smallest_second == engine.get_batch_size() == 4
    assert engine.origin is None


def test_warming_up_runs_one_picture_and_a_full_batch() -> None:
    engine = NumberEngine()
    engine.warm_up()
    assert [len(numbers) for numbers in engine.ran] == [1, 4]


def test_resources_are_released_once() -> None:
    with NumberEngine() as engine:
        engine.check_health()
        assert engine.released == 0
    threads = [threading.Thread(target=engine.close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.released == 1
    with pytest.raises(EngineClosedError, match="numbers: the engine is closed"):
        engine.check_health()
