"""ModelInfo: what the file says of sizes, batches and inputs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from azaion_engine.errors import ModelError
from azaion_engine.model.info import ModelInfo
from tests.azaion_engine import signatures as s

OPEN = ["batch", 3, "height", "width"]


def read(input_shape: list[int | str] = OPEN, **options: object) -> ModelInfo:
    outputs = {"output0": s.rows()}
    return ModelInfo.from_onnx(s.make_model(outputs, input_shape=input_shape, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("imgsz", "size"),
    [
        ("[640, 640]", (640, 640)),
        ("[384, 672]", (384, 672)),
        ("640", (640, 640)),
        ("", (1280, 1280)),
        ("[640]", (1280, 1280)),
        ("[0, 0]", (1280, 1280)),
        ("__import__('os')", (1280, 1280)),
    ],
)
def test_an_open_size_is_the_one_it_was_trained_at(imgsz: str, size: tuple[int, int]) -> None:
    info = read(metadata={"imgsz": imgsz})
    assert info.resolve(1, None, None) == (1, *size)
    assert info.resolve(1, 320, None) == (1, 320, size[1]), "the settings go before"


def test_what_the_file_fixes_goes_before_all() -> None:
    info = read([2, 3, 64, 96], metadata={"imgsz": "[640, 640]"})
    assert info.resolve(16, 320, 320) == (2, 64, 96)
    assert read(["b", 64, 96, 3]).resolve(1, None, None) == (1, 64, 96), "channels last"


@pytest.mark.parametrize(
    ("metadata", "operators", "largest"),
    [
        ({"args": "{'nms': True}", "batch": "4"}, [], 4),
        ({"args": "{'nms': True}"}, [], 1),
        ({"args": "{'nms': None}", "batch": "1"}, [], None),
        ({"args": "{'nms': False}", "batch": "1"}, [], None),
        ({"batch": "1"}, [], None),
        ({"args": "nonsense"}, [], None),
    ],
)
def test_suppression_exported_picture_by_picture_bounds_the_batch(
    metadata: dict[str, str], operators: list[str], largest: int | None
) -> None:
    info = read(metadata=metadata, operators=operators)
    assert info.largest_batch == largest
    assert info.resolve(16, None, None)[0] == (largest or 16)


def test_a_fixed_batch_is_not_bounded_further() -> None:
    assert read([8, 3, 64, 64], metadata={"args": "{'nms': True}", "batch": "1"}).largest_batch is None


def test_the_only_second_input_is_the_size_that_boxes_are_scaled_to() -> None:
    outputs = {"boxes": s.relative(s.BOXES)[None], "labels": s.CLASSES[None].astype(np.int64)}
    info = ModelInfo.from_onnx(s.make_model(outputs, target_sizes=True))
    assert (info.input.name, [extra.name for extra in info.extras]) == ("images", ["orig_target_sizes"])


def test_an_input_that_takes_no_pictures_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"'images' is float32 \[1, 4, 64, 96\], expected .*\[batch, 3, height, width\]"
    ):
        read([1, 4, 64, 96])
    with pytest.raises(ModelError, match="int64"):
        read([1, 3, 64, 96], input_type=TensorProto.INT64)
