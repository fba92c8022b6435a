"""Pixels are decoded once, shared, and freed after the last user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from azaion_engine.errors import OutOfMemoryError, PictureTooLargeError, UndecodablePictureError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.codec import encode_jpeg
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.shared_pixels import SharedPixels

JPEG = encode_jpeg(np.full((600, 900, 3), 90, np.uint8))


def test_users_in_several_threads_get_the_same_pixels() -> None:
    pixels = SharedPixels(EncodedPicture(JPEG), 8, DecodeMemory(2**28))
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: pixels.get(), range(8)))
    assert len({id(one) for one in seen}) == 1
    assert seen[0].shape == (600, 900, 3)


def test_memory_is_taken_until_the_last_user_is_done() -> None:
    memory = DecodeMemory(EncodedPicture(JPEG).decoding_bytes())
    pixels = SharedPixels(EncodedPicture(JPEG), 2, memory)
    pixels.get()
    pixels.done()
    with pytest.raises(OutOfMemoryError), memory.hold(memory.limit, timeout_s=0.05):
        pass
    pixels.done()
    with memory.hold(memory.limit, timeout_s=0.05):
        pass


def test_every_user_gets_the_error_and_no_memory_stays_taken() -> None:
    memory = DecodeMemory(2**28)
    pixels = SharedPixels(EncodedPicture(JPEG[: len(JPEG) // 2]), 2, memory)
    for _ in range(2):
        with pytest.raises(UndecodablePictureError):
            pixels.get()
    with memory.hold(memory.limit, timeout_s=0.05):
        pass


def test_a_picture_that_needs_more_than_the_budget_is_refused() -> None:
    with pytest.raises(PictureTooLargeError):
        SharedPixels(EncodedPicture(JPEG), 1, DecodeMemory(1000)).get()
