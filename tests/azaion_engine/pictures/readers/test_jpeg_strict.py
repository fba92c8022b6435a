"""JPEGs with several scans are decoded once where libjpeg's warnings are known, and as well as without them."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures import encoded
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.readers.jpeg.strict import decode_strictly
from tests.azaion_engine.pictures.picture_files import encode
from tests.azaion_engine.pictures.readers.test_damaged_jpegs import END, SCENE, scan_of

HEIGHT, WIDTH = SCENE.shape[:2]


def progressive(mode: str, subsampling: int = 2) -> bytes:
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    return encode(Image.fromarray(SCENE).convert(mode), "JPEG", progressive=True, **options)


@pytest.fixture
def simplejpeg() -> None:
    pytest.importorskip("simplejpeg")


@pytest.mark.usefixtures("simplejpeg")
@pytest.mark.parametrize(("mode", "subsampling"), [("RGB", 0), ("RGB", 1), ("RGB", 2), ("L", 0)])
def test_a_whole_jpeg_has_the_same_pixels_and_a_cut_one_none(mode: str, subsampling: int) -> None:
    data = progressive(mode, subsampling)
    found = decode_strictly(data, WIDTH, HEIGHT)
    assert found is not None
    assert found.flags.writeable
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    last = data.rindex(b"\xff\xda")
    for cut in (*range(1, 20), *np.linspace(20, len(data) - last - 20, 50).astype(int).tolist()):
        assert decode_strictly(data[: -2 - cut] + END, WIDTH, HEIGHT) is None


@pytest.mark.usefixtures("simplejpeg")
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_whole_progressive_jpeg_is_decoded_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = progressive(mode)
    expected = decode(data)

    def never(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(encoded, "to_rgb", never)
    monkeypatch.setattr(encoded, "is_not_cut", never)
    assert np.array_equal(decode(data), expected)
    with pytest.raises(
        UndecodablePictureError, match="decoded again"
    ):  # libjpeg warns of data too many: Pillow decides
        decode(data[:-2] + bytes(40) + END)


def test_without_simplejpeg_a_cut_progressive_jpeg_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = progressive("RGB")
    expected = decode(data)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert np.array_equal(decode(data), expected)
    for share in (0.1, 0.7, 0.95, 0.999):
        with pytest.raises(UndecodablePictureError, match="damaged or truncated"):
            decode(data[: scan_of(data) + int(share * (len(data) - scan_of(data)))] + END)
