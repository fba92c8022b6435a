"""azaion_engine.model.extras: inputs beside the picture get values with which boxes come in the network's pixels."""

from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.errors import ModelError
from azaion_engine.heads.base import TensorInfo
from azaion_engine.model.extras import is_known, value_of
from azaion_engine.model.info import ModelInfo
from tests.azaion_engine import signatures as s


@pytest.mark.parametrize(
    ("name", "dtype", "expected"),
    [
        ("orig_target_sizes", "int64", [[96, 64]]),
        ("im_shape", "float32", [[64, 96]]),
        ("scale_factor", "float32", [[1, 1]]),
    ],
)
def test_sizes_are_in_each_exporter_s_order(name: str, dtype: str, expected: list[list[float]]) -> None:
    value = value_of(TensorInfo(name, dtype, (-1, 2)), 64, 96)
    assert (value.tolist(), value.dtype) == (expected, np.dtype(dtype))


def test_a_mask_is_one_everywhere_and_has_its_own_size_if_that_is_fixed() -> None:
    assert value_of(TensorInfo("pixel_mask", "int64", (-1, -1, -1)), 64, 96).tolist() == np.ones((1, 64, 96)).tolist()
    assert value_of(TensorInfo("pixel_mask", "bool", (1, 32, 48)), 64, 96).shape == (1, 32, 48)


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [
        ("image_shape", "float32", (1, 2)),
        ("scale_factor", "float32", (1, 4)),
        ("scale_factor", "float32", (2,)),
        ("pixel_mask", "int64", (1, 2)),
        ("im_shape", "unknown", (1, 2)),
    ],
)
def test_another_name_type_or_shape_is_not_known(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    assert not is_known(TensorInfo(name, dtype, shape))


def test_a_model_with_an_unknown_input_is_refused_with_the_names_of_known_ones() -> None:
    model = s.make_model({"output0": s.rows()}, extras={"image_shape": (1, [1, 2])})
    with pytest.raises(ModelError, match=r"'im_shape', 'scale_factor', 'pixel_mask'.*'image_shape'"):
        ModelInfo.from_onnx(model)
