"""Decode cost: the order of what formats take; `tests/hostile` measures that it is enough."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import OutOfMemoryError, PictureTooLargeError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.prepared import PictureForm
from azaion_engine.pictures.preparing import Preparer
from tests.azaion_engine.pictures.picture_files import encode

SIDE = 2000
GREY = np.full((SIDE, SIDE, 3), 100, np.uint8)


def per_pixel(data: bytes) -> float:
    return EncodedPicture(data).decoding_bytes() / SIDE**2


def test_each_format_is_charged_what_it_takes() -> None:
    image = Image.fromarray(GREY)
    fast, slow = per_pixel(encode(GREY, "JPEG")), per_pixel(encode(GREY, "JPEG", progressive=True, subsampling=0))
    cmyk = per_pixel(encode(image.convert("CMYK"), "JPEG", progressive=True))
    assert 7 <= fast < slow < cmyk < 20
    assert per_pixel(encode(image.convert("L"), "PNG")) < per_pixel(encode(GREY, "PNG"))
    assert per_pixel(encode(GREY, "WEBP")) >= 20
    strips = encode(GREY, "TIFF", compression="tiff_lzw", tiffinfo={278: 16})
    whole = encode(GREY, "TIFF", compression="tiff_lzw", tiffinfo={278: SIDE})
    assert per_pixel(whole) > per_pixel(strips) + 5


def test_a_picture_one_pixel_wide_is_charged_for_its_rows() -> None:
    tall = EncodedPicture(encode(np.zeros((SIDE * 100, 1, 3), np.uint8), "PNG"))
    assert tall.decoding_bytes() - EncodedPicture(encode(GREY[:1, :1], "PNG")).decoding_bytes() > 27 * SIDE * 100


def test_a_picture_above_the_whole_budget_is_refused_before_it_is_decoded() -> None:
    memory = DecodeMemory(2**24)
    preparer = Preparer((32, 32), PictureForm.ARRAY, PictureLimits(), memory=memory)
    preparer.prepare(encode(GREY[:500, :500], "PNG"))
    with pytest.raises(PictureTooLargeError, match="at most 16 MiB"):
        preparer.prepare(encode(GREY, "PNG"))


def test_a_decode_waits_for_memory_no_longer_than_its_caller() -> None:
    memory = DecodeMemory(2**24)
    preparer = Preparer((32, 32), PictureForm.ARRAY, PictureLimits(), memory=memory)
    with memory.hold(2**24), pytest.raises(OutOfMemoryError, match="try again"):
        preparer.prepare(encode(GREY[:500, :500], "PNG"), timeout_s=0.01)


def test_a_tiny_jpeg_never_waits_because_the_event_loop_decodes_it() -> None:
    memory = DecodeMemory(2**24)
    preparer = Preparer((32, 32), PictureForm.ARRAY, PictureLimits(), memory=memory)
    with memory.hold(2**24):
        assert preparer.prepare(encode(GREY[:100, :100], "JPEG"), timeout_s=0.01)
