"""Codec: written JPEGs."""

from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.errors import InvalidParameterError, InvalidTensorError, PictureTooLargeError
from azaion_engine.pictures.codec import decode, encode_jpeg
from tests.azaion_engine.pictures.picture_files import RED, close, corners, noise


def test_an_encoded_jpeg_decodes_to_about_the_same_picture() -> None:
    assert close(decode(encode_jpeg(corners(64, 64), 95))[8:24, 8:24], RED)
    assert len(encode_jpeg(noise(), 30)) < len(encode_jpeg(noise(), 95))


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(InvalidTensorError, match="float32"):
        encode_jpeg(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(InvalidParameterError, match="101"):
        encode_jpeg(corners(), 101)
    with pytest.raises(PictureTooLargeError):
        encode_jpeg(np.zeros((1, 66000, 3), np.uint8))
