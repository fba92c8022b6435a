"""letterbox.cu: bit-identical to letterbox.py, as C++ where there is a compiler, and on a GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from azaion_engine.pictures.gpu.letterbox_kernel import PTX, RECORD, LetterboxKernel, Window, make_record
from azaion_engine.pictures.input_form import DEFAULT_FORM, InputForm
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.pixels import turn_upright
from tests.azaion_engine.cu_as_cpp import compile_as_cpp

GLUE = """
extern "C" int record_size() { return sizeof(Picture); }
extern "C" void run(int half, const Picture* pictures, int count, void* input, int width, int height) {
    for (blockIdx.z = 0; blockIdx.z < count; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < height; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x * RUN < width; ++blockIdx.x)
                half ? letterbox_float16(pictures, (unsigned short*)input, width, height)
                     : letterbox_float32(pictures, (float*)input, width, height);
}
extern "C" void run_form(
    int half, const Picture* pictures, int count, void* input, int width, int height, const float* tables,
    int reversed) {
    for (blockIdx.z = 0; blockIdx.z < count; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < height; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x * RUN < width; ++blockIdx.x)
                half ? letterbox_form_float16(pictures, (unsigned short*)input, width, height, tables, reversed)
                     : letterbox_form_float32(pictures, (float*)input, width, height, tables, reversed);
}
"""

SOURCE = PTX.with_suffix(".cu")

Fill = Callable[..., np.ndarray[Any, Any]]
"""Stored pictures, their orientations, (height, width), element type, form, tiles → the network's input."""

Tiles = list[tuple[int, int, int, int]]
"""Left, upper edge, width and height of one tile of each picture, upright."""


def records_of(
    addresses: list[int],
    pictures: list[Any],
    orientations: list[int],
    size: tuple[int, int],
    form: InputForm,
    tiles: Tiles | None,
) -> np.ndarray[Any, Any]:
    records = []
    for index, (address, stored, orientation) in enumerate(zip(addresses, pictures, orientations, strict=True)):
        upright = stored.shape[:2] if orientation >= 5 else stored.shape[1::-1]
        x, y, *sides = tiles[index] if tiles else (0, 0, *upright)
        window = Window(x, y, *upright) if tiles else None
        box = Letterbox.fit(*sides, *size, form.fit)
        records.append(make_record(address, stored.strides[0], orientation, box, window))
    return np.array(records, RECORD)


@pytest.fixture(scope="module")
def fill_as_cpp(tmp_path_factory: pytest.TempPathFactory) -> Fill:
    library = compile_as_cpp(SOURCE, GLUE, tmp_path_factory.mktemp("letterbox"))
    assert library.record_size() == RECORD.itemsize

    def fill(
        pictures: list[Any],
        orientations: list[int],
        size: tuple[int, int],
        dtype: type,
        form: InputForm = DEFAULT_FORM,
        tiles: Tiles | None = None,
    ) -> Any:
        records = records_of([p.ctypes.data for p in pictures], pictures, orientations, size, form, tiles)
        out = np.full((len(pictures), 3, *size), -1, dtype)
        given = (
            dtype is np.float16,
            ctypes.c_void_p(records.ctypes.data),
            len(pictures),
            ctypes.c_void_p(out.ctypes.data),
            size[1],
            size[0],
        )
        if form.is_default:
            library.run(*given)
        else:
            tables = np.ascontiguousarray(form.tables, np.float32)
            library.run_form(*given, ctypes.c_void_p(tables.ctypes.data), form.colour == "bgr")
        return out

    return fill


@pytest.fixture
def fill_on_gpu() -> Iterator[Fill]:
    from azaion_engine.cuda.context import cuda_context

    context = cuda_context(0)

    def fill(
        pictures: list[Any],
        orientations: list[int],
        size: tuple[int, int],
        dtype: type,
        form: InputForm = DEFAULT_FORM,
        tiles: Tiles | None = None,
    ) -> Any:
        driver, stream = context.driver, context.driver.Stream(1)
        held = [driver.to_device(picture) for picture in pictures]
        records = records_of([int(address) for address in held], pictures, orientations, size, form, tiles)
        out = np.full((len(pictures), 3, *size), -1, dtype)
        on_gpu, table = driver.to_device(out), driver.to_device(records)
        kernel = LetterboxKernel(driver, np.dtype(dtype), form, stream)
        kernel.launch(int(table), len(pictures), int(on_gpu), size, stream)
        stream.synchronize()
        kernel.free()
        driver.memcpy_dtoh(out, on_gpu)
        return out

    with context.active():
        yield fill


@pytest.fixture(params=["fill_as_cpp", pytest.param("fill_on_gpu", marks=pytest.mark.gpu)])
def fill(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def picture(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(height * 10000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (160, 160), (33, 7), (1, 1)])
def test_pixels_are_those_of_the_cpu(fill: Fill, size: tuple[int, int], dtype: type) -> None:
    sizes = [(64, 96), (128, 192), (31, 47), (100, 333), (333, 100), (480, 640), (1, 1), (500, 1), (1, 500), (66, 98)]
    pictures = [picture(*each) for each in sizes]
    found = fill(pictures, [1] * len(pictures), size, dtype)
    for (height, width), pixels, ours in zip(sizes, pictures, found, strict=True):
        expected = Letterbox.fit(width, height, *size).to_input(pixels).astype(dtype)
        np.testing.assert_array_equal(ours, expected, f"{width}x{height}")


@pytest.mark.parametrize("size", [(48, 80), (80, 48)])
def test_every_orientation_is_turned_upright(fill: Fill, size: tuple[int, int]) -> None:
    stored = [picture(37 + orientation, 61) for orientation in range(1, 9)]
    found = fill(stored, list(range(1, 9)), size, np.float32)
    for orientation, pixels, ours in zip(range(1, 9), stored, found, strict=True):
        upright = turn_upright(pixels, orientation)
        expected = Letterbox.fit(upright.shape[1], upright.shape[0], *size).to_input(upright)
        np.testing.assert_array_equal(ours, expected, f"orientation {orientation}")


@pytest.mark.parametrize("tile", [(0, 0, 30, 20), (7, 11, 24, 24), (17, 6, 20, 31), (36, 36, 1, 1)])
@pytest.mark.parametrize("size", [(48, 80), (24, 24)])
def test_a_tile_is_cut_from_the_upright_picture_and_sees_nothing_beside_it(
    fill: Fill, size: tuple[int, int], tile: tuple[int, int, int, int]
) -> None:
    stored = [picture(37 + orientation, 61) for orientation in range(1, 9)]
    found = fill(stored, list(range(1, 9)), size, np.float32, DEFAULT_FORM, [tile] * 8)
    x, y, width, height = tile
    for orientation, pixels, ours in zip(range(1, 9), stored, found, strict=True):
        cut = turn_upright(pixels, orientation)[y : y + height, x : x + width]
        expected = Letterbox.fit(width, height, *size).to_input(np.ascontiguousarray(cut))
        np.testing.assert_array_equal(ours, expected, f"orientation {orientation}")


def test_a_pitch_wider_than_the_row_is_stepped_over(fill_as_cpp: Fill) -> None:
    wide = picture(40, 60)
    cut = wide[:, :50]
    assert cut.strides[0] == 180
    np.testing.assert_array_equal(
        fill_as_cpp([cut], [6], (64, 64), np.float32), fill_as_cpp([cut.copy()], [6], (64, 64), np.float32)
    )


FORMS = [
    InputForm(colour="bgr", scale=1.0, fit="top_left"),  # YOLOX
    InputForm(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="stretch"),  # ImageNet
    InputForm(colour="bgr", mean=(0.1, 0.2, 0.3), std=(1, 2, 3)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("form", FORMS, ids=InputForm.describe)
def test_other_forms_are_those_of_the_cpu(fill: Fill, form: InputForm, dtype: type) -> None:
    sizes = [(64, 96), (31, 47), (100, 333), (333, 100), (1, 1), (66, 98)]
    pictures = [picture(*each) for each in sizes]
    found = fill(pictures, [1] * len(pictures), (64, 96), dtype, form)
    for (height, width), pixels, ours in zip(sizes, pictures, found, strict=True):
        expected = Letterbox.fit(width, height, 64, 96, form.fit).to_input(pixels, form=form).astype(dtype)
        np.testing.assert_array_equal(ours, expected, f"{width}x{height}")
