"""WebPs that are partly overwritten: refused, and flat ones, which hold as many zeros, are read."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.encoded import EncodedPicture
from tests.azaion_engine.pictures.picture_files import encode

PICTURE = cv2.GaussianBlur(np.random.default_rng(6).integers(0, 256, (240, 320, 3), dtype=np.uint8), (3, 3), 0)
OTHER = Image.fromarray(PICTURE[::-1])
KINDS: dict[str, dict[str, Any]] = {
    "lossy": {"quality": 80},
    "lossless": {"lossless": True},
    "metadata": {"quality": 80, "exif": bytes(40), "icc_profile": bytes(300)},
    "animation": {"quality": 80, "save_all": True, "append_images": [OTHER]},
    "lossless animation": {"lossless": True, "save_all": True, "append_images": [OTHER]},
}


def place(data: bytes) -> tuple[int, int]:
    """Returns begin and end of the first frame's bitstream."""
    at = min(found for name in (b"VP8 ", b"VP8L") if (found := data.find(name)) >= 0)
    return at + 8, at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("blank", [b"\0", b"\xff"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [(0.5, 1), (0.85, 1), (0.3, 0.6)])
def test_a_frame_that_is_partly_blank_is_refused(
    kind: str, part: tuple[float, float], blank: bytes, alpha: bool
) -> None:
    picture = np.dstack([PICTURE, PICTURE[..., 0]]) if alpha else PICTURE
    whole = encode(picture, "WEBP", **KINDS[kind])
    assert EncodedPicture(whole).decode().shape == PICTURE.shape
    data = bytearray(whole)
    start, end = place(whole)
    first, last = (start + int((end - start) * share) for share in part)
    data[first:last] = blank * (last - first)
    with pytest.raises(UndecodablePictureError, match="the WebP is damaged or truncated"):
        EncodedPicture(bytes(data)).decode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_part_is_read_although_its_data_are_zeros(kind: str, level: int) -> None:
    flat = np.full((1600, 1600, 3), level, np.uint8)
    flat[:600] = np.tile(PICTURE, (3, 5, 1))[:600]
    data = encode(flat, "WEBP", method=0, **{**KINDS[kind], "append_images": [Image.fromarray(flat[::-1])]})
    start, end = place(data)
    assert bytes(256) in data[start:end]
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(EncodedPicture(data).decode(), expected)
