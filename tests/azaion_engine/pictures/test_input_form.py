"""Input forms: what the network sees of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.errors import InvalidTensorError
from azaion_engine.pictures.input_form import IMAGENET_MEAN, IMAGENET_STD, InputForm
from azaion_engine.pictures.letterbox import PAD_VALUE, Letterbox

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
SAME = Letterbox.fit(30, 20, 20, 30)


def test_the_default_is_rgb_planes_from_0_to_1() -> None:
    expected = (PIXELS.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)
    np.testing.assert_array_equal(SAME.to_input(PIXELS), expected)
    assert InputForm().is_default
    assert InputForm(dtype="float16").is_default
    assert not InputForm(dtype="uint8", scale=1.0).is_default


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (InputForm(colour="bgr", scale=1.0), PIXELS[..., ::-1].astype(np.float32).transpose(2, 0, 1)),
        (
            InputForm(mean=IMAGENET_MEAN, std=IMAGENET_STD),
            ((PIXELS / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1),
        ),
        (
            InputForm(colour="bgr", scale=1.0, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0)),
            ((PIXELS[..., ::-1] - [1.0, 2, 3]) / [4.0, 5, 6]).transpose(2, 0, 1),
        ),
        (InputForm(layout="nhwc"), PIXELS / 255),
        (InputForm(layout="nhwc", scale=1.0, dtype="uint8", colour="bgr"), PIXELS[..., ::-1]),
        (InputForm(scale=1.0, dtype="uint8"), PIXELS.transpose(2, 0, 1)),
    ],
    ids=["bgr 0..255", "imagenet", "means are in the network's order", "nhwc", "uint8 nhwc bgr", "uint8"],
)
def test_colour_scale_mean_and_layout(form: InputForm, expected: np.ndarray) -> None:
    made = SAME.to_input(PIXELS, form=form)
    assert made.dtype == form.array_dtype
    assert made.shape == form.array_shape(20, 30)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "form",
    [InputForm(layout="nhwc"), InputForm(colour="bgr", scale=1.0), InputForm(mean=(0.5, 0.1, 0.2))],
    ids=["nhwc", "bgr", "mean"],
)
def test_the_border_is_grey_in_every_form(form: InputForm) -> None:
    letterbox = Letterbox.fit(30, 20, 64, 48)
    grey = np.full((64, 48, 3), PAD_VALUE, np.uint8)
    expected = Letterbox.fit(48, 64, 64, 48).to_input(grey, form=form)
    made = letterbox.to_input(PIXELS, form=form)
    rows = slice(0, letterbox.pad_top)
    assert letterbox.pad_top > 0
    where = (rows, slice(None)) if form.layout == "nhwc" else (slice(None), rows)
    np.testing.assert_array_equal(made[where], expected[where])


def test_an_array_of_another_form_is_refused() -> None:
    with pytest.raises(InvalidTensorError, match=r"float32 \[20, 30, 3\], given float32 \[3, 20, 30\]"):
        SAME.to_input(PIXELS, np.empty((3, 20, 30), np.float32), InputForm(layout="nhwc"))


def test_it_describes_itself() -> None:
    assert InputForm().describe() == "RGB 0..1, letterbox, NCHW float32"
    form = InputForm("bgr", 1.0, (1, 2, 3), (4, 5, 6), "top_left", "nhwc", "uint8", "antialiased")
    assert form.describe() == "BGR 0..255 minus (1, 2, 3) over (4, 5, 6), top-left antialiased, NHWC uint8"
