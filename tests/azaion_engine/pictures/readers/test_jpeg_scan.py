"""JPEG scan: large pictures are decoded into memory that is given, to the pixels of `cv2.imdecode`."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from azaion_engine.errors import OutOfMemoryError, UndecodablePictureError
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.readers.jpeg import scan

SAMPLINGS = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, None]


@pytest.fixture(autouse=True)
def every_picture_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_LARGE_BYTES", 0)


def jpeg(sampling: int | None = None) -> bytes:
    """Encodes noise, in grey without a sampling."""
    pixels = np.random.default_rng(3).integers(0, 256, (90, 130, 3), np.uint8)
    if sampling is None:
        return cv2.imencode(".jpg", pixels[..., 0])[1].tobytes()
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling])[1].tobytes()


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_pixels_are_those_of_imdecode_which_is_not_needed(
    sampling: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(sampling)
    expected = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    monkeypatch.setattr(cv2, "imdecode", None)
    np.testing.assert_array_equal(EncodedPicture(data).decode(), expected)


def test_a_cut_one_is_refused() -> None:
    data = jpeg(SAMPLINGS[0])
    with pytest.raises(UndecodablePictureError):
        EncodedPicture(data[: len(data) // 2] + b"\xff\xd9").decode()


@pytest.mark.parametrize("lacks", ["memfd_create", "imread"])
def test_without_such_memory_imdecode_decodes(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(SAMPLINGS[0])
    expected = EncodedPicture(data).decode()

    def refuse(*_: object, **__: object) -> None:
        raise OSError("not here") if lacks == "memfd_create" else cv2.error("not here")

    monkeypatch.setattr(os if lacks == "memfd_create" else cv2, lacks, refuse)
    np.testing.assert_array_equal(EncodedPicture(data).decode(), expected)


def test_running_out_of_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(scan, "_decode_into", refuse)
    with pytest.raises(OutOfMemoryError):
        EncodedPicture(jpeg(SAMPLINGS[0])).decode()
