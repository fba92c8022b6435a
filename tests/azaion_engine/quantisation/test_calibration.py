"""CalibrationPictures: the service's own inputs, one at a time; what cannot be read is skipped and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from azaion_engine.detector import Detector
from azaion_engine.engines.onnx_engine import OnnxEngine
from azaion_engine.errors import PictureError
from azaion_engine.pictures.input_form import InputForm
from azaion_engine.quantisation.calibration import CalibrationPictures, spread
from tests.azaion_engine.fakes.fake_modelopt import pictures
from tests.azaion_engine.models import make_detector


def test_pictures_are_what_the_engine_gets_from_the_detector(tmp_path: Path) -> None:
    paths = pictures(tmp_path)
    given = CalibrationPictures(paths, "images", (64, 64), InputForm())
    with Detector(OnnxEngine(make_detector())) as detector:
        for path, found in zip(paths, list(given), strict=True):
            assert np.array_equal(found["images"], detector.prepare(path).array[None])  # type: ignore[union-attr]


def test_a_picture_that_cannot_be_read_is_skipped_and_told_once(tmp_path: Path) -> None:
    paths = pictures(tmp_path)
    paths[0].write_bytes(b"no picture")
    paths[2].unlink()
    told: list[Path] = []
    given = CalibrationPictures(paths, "images", (64, 64), InputForm(), told=lambda path, error: told.append(path))
    for _ in range(2):
        assert len(list(given)) == 2
        given.rewind()
    assert told == [paths[0], paths[2]] == list(given.skipped)
    assert len(given) == 2


def test_without_any_picture_the_error_says_why(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.write_bytes(b"")
    with pytest.raises(PictureError, match="none of the 1 pictures"):
        CalibrationPictures([path], "images", (64, 64), InputForm())


def test_a_fixed_batch_is_filled_and_an_input_without_batch_has_none(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 1)
    four = CalibrationPictures(paths, "images", (64, 96), InputForm(), batch=4).get_first()["images"]
    assert four.shape == (4, 3, 64, 96)
    none = CalibrationPictures(paths, "images", (64, 96), InputForm(dtype="float16"), batch=None)
    assert (none.get_first()["images"].shape, none.get_first()["images"].dtype) == ((3, 64, 96), np.float16)


def test_spread_takes_pictures_from_all_over_the_folder() -> None:
    paths = [Path(str(number)) for number in range(100)]
    assert [int(path.name) for path in spread(paths, 4)] == [0, 25, 50, 75]
    assert spread(paths, 1000) == paths
