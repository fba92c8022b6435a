from __future__ import annotations

import numpy as np

from azaion_engine.pictures.input_form import DEFAULT_FORM, IMAGENET_MEAN, IMAGENET_STD, InputForm


def test_the_default_is_a_division_in_float32() -> None:
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(DEFAULT_FORM.tables, np.stack([expected] * 3))
    assert DEFAULT_FORM.tables.dtype == np.float32


def test_whole_pixel_values_stay_whole() -> None:
    np.testing.assert_array_equal(InputForm(scale=255).tables[1], np.arange(256))


def test_mean_and_deviation_are_those_of_each_channel() -> None:
    tables = InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD).tables
    for channel in range(3):
        expected = (np.arange(256) / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        np.testing.assert_allclose(tables[channel], expected, atol=1e-6)


def test_it_says_what_it_is() -> None:
    assert str(InputForm("bgr", 255, fit="top_left")) == "BGR 0…255, top left, NCHW"
    assert "minus [0.485, 0.456, 0.406]" in str(InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD))
