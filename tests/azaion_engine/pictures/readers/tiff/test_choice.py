"""TIFFs that OpenCV decodes: refused where it leaves strips and tiles black."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from azaion_engine.errors import UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.bounds.tiff_directory import needed_tags
from azaion_engine.pictures.bounds.tiff_pieces import pieces
from azaion_engine.pictures.encoded import EncodedPicture
from tests.azaion_engine.pictures.readers.tiff_files import tiff

PICTURE = cv2.GaussianBlur(np.random.default_rng(8).integers(0, 256, (50, 70, 3), dtype=np.uint8), (5, 5), 0)
LAB = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2LAB)
LAB[..., 1:] ^= 128  # signed in the file (TIFF 6.0, section 23)
YCC = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
KINDS = {"CIELab": (LAB, 8, {}), "YCbCr": (YCC, tags.YCBCR, {530: (1, 1)})}


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_piece_is_told(kind: str, tile: int) -> None:
    samples, photometric, more = KINDS[kind]
    data = tiff(samples, deflate=True, tile=tile, rows=20, photometric=photometric, more=more)
    picture = EncodedPicture(data).decode()
    assert picture.std() > 10
    offset, length, *_ = list(pieces(needed_tags(data, 10**6).layout))[1]
    third = length // 3
    damaged = data[: offset + third] + bytes(third) + data[offset + 2 * third :]
    with pytest.raises(UndecodablePictureError):
        EncodedPicture(damaged).decode()


@pytest.mark.parametrize("kind", KINDS)
def test_what_opencv_cannot_decompress_is_not_called_damaged(kind: str) -> None:
    samples, photometric, more = KINDS[kind]
    data = tiff(samples, rows=20, photometric=photometric, more={**more, tags.COMPRESSION: (tags.ZSTANDARD,)})
    with pytest.raises(UnsupportedPictureError, match=f"{kind}, in Zstandard"):
        EncodedPicture(data).decode()
