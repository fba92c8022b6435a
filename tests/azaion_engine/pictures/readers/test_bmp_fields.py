"""BmpFields: BMPs with bit fields of any place and width."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from azaion_engine.errors import PictureTooLargeError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.header import PictureLimits
from tests.azaion_engine.pictures.picture_files import corners


def bmp(picture: np.ndarray, masks: tuple[int, int, int], bits: int, downwards: bool = False) -> bytes:
    height, width, _ = picture.shape
    pixels = np.zeros((height, width), np.uint32)
    for channel, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        pixels |= (picture[..., channel].astype(np.uint32) * (mask >> shift) // 255) << np.uint32(shift)
    rows = pixels.astype(f"<u{bits // 8}") if downwards else pixels.astype(f"<u{bits // 8}")[::-1]
    body = b"".join(row.tobytes().ljust(-(-width * bits // 32) * 4, b"\0") for row in rows)
    info = struct.pack("<IiiHHIIiiII", 40, width, -height if downwards else height, 1, bits, 3, len(body), 0, 0, 0, 0)
    head = struct.pack("<2sIHHI", b"BM", 66 + len(body), 0, 0, 66)
    return head + info + struct.pack("<3I", *masks) + body


@pytest.mark.parametrize(
    "masks",
    [(0xFF, 0xFF00, 0xFF0000), (0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00), (0x3FF, 0xFFC00, 0x3FF00000)],
)
@pytest.mark.parametrize("downwards", [False, True])
def test_32_bits_with_any_masks_decode(masks: tuple[int, int, int], downwards: bool) -> None:
    assert np.abs(decode(bmp(corners(47, 31), masks, 32, downwards)).astype(int) - corners(47, 31)).max() <= 1


@pytest.mark.parametrize("masks", [(0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F), (0xF00, 0xF0, 0xF)])
def test_16_bits_with_any_masks_decode(masks: tuple[int, int, int]) -> None:
    assert np.abs(decode(bmp(corners(47, 31), masks, 16)).astype(int) - corners(47, 31)).max() <= 17


def test_odd_masks_are_named_and_cut_files_damaged() -> None:
    whole = bmp(corners(), (0xFF, 0xFF00, 0xFF0000), 32)
    with pytest.raises(UnsupportedPictureError, match="0x5"):
        decode(whole[:54] + struct.pack("<3I", 5, 0xFF00, 0xFF0000) + whole[66:])
    for length in (60, len(whole) - 1):
        with pytest.raises(UndecodablePictureError):
            decode(whole[:length])
    with pytest.raises(PictureTooLargeError):
        decode(whole, PictureLimits(max_pixels=10))
