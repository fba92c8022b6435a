"""Deflate TIFFs: no flipped bit changes a pixel without an error, and bytes behind the data do no harm."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import UndecodablePictureError
from azaion_engine.pictures.bounds import tiff_layout as tags
from azaion_engine.pictures.encoded import EncodedPicture
from tests.azaion_engine.pictures.readers.tiff_files import tiff

PICTURE = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (50, 70, 3), dtype=np.uint8), (9, 9), 0)
GREY = PICTURE[..., 0]
FILES = {
    "strips": tiff(PICTURE, deflate=True, rows=20),
    "tiles": tiff(PICTURE, deflate=True, tile=32),
    "planes": tiff(PICTURE, deflate=True, separate=True, tile=32),
    "differences": tiff(PICTURE, deflate=True, predictor=2, rows=20),
    "differences in tiles": tiff(PICTURE, deflate=True, predictor=2, tile=32),
    "grey": tiff(GREY, deflate=True, rows=20),
    "white is zero": tiff(GREY, deflate=True, rows=20, photometric=0),
    "alpha": tiff(np.dstack([PICTURE, GREY]), deflate=True, rows=20, more={338: (2,)}),
    "deep": tiff(PICTURE.astype(np.uint16) * 256, deflate=True, rows=20),
    "deep tiles": tiff(PICTURE.astype(np.uint16) * 256, deflate=True, predictor=2, tile=32),
    "floats": tiff(PICTURE.astype(np.float32), deflate=True, predictor=3, separate=True, rows=20),
}


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_changes_pixels_without_an_error(name: str) -> None:
    data = FILES[name]
    whole = EncodedPicture(data).decode()
    assert (whole.std(axis=(0, 1)) > 5).all()
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(8, struct.unpack_from("<I", data, 4)[0], 150).tolist():
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        try:
            picture = EncodedPicture(bytes(flipped)).decode()
        except UndecodablePictureError:
            refused += 1
        else:
            np.testing.assert_array_equal(picture, whole)
    assert refused > 100


@pytest.mark.parametrize("wrong", [False, True])
def test_data_may_inflate_to_more_rows_and_be_padded_but_not_be_damaged(wrong: bool) -> None:
    stored = GREY.tobytes()
    compressed = zlib.compress(stored + stored[:700])
    body = compressed[:-4] + (bytes(4) if wrong else compressed[-4:]) + bytes(5)
    data = bytearray(tiff(GREY, rows=50) + body)
    [at] = struct.unpack_from("<I", data, 4)
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        [tag] = struct.unpack_from("<H", data, entry)
        new = {tags.COMPRESSION: 8, tags.STRIP_OFFSETS: len(data) - len(body), tags.STRIP_BYTES: len(body)}.get(tag)
        if new is not None:
            struct.pack_into("<I", data, entry + 8, new)
    if wrong:
        with pytest.raises(UndecodablePictureError, match="checksum"):
            EncodedPicture(bytes(data)).decode()
    else:
        np.testing.assert_array_equal(EncodedPicture(bytes(data)).decode()[..., 0], GREY)


@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK"])
def test_whole_files_of_pillow_are_read(mode: str, predictor: int) -> None:
    if mode == "1" and predictor == 2:
        pytest.skip("libtiff differs whole bytes only")
    image = Image.fromarray(PICTURE).convert("RGBA" if mode == "LA" else mode)
    image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="tiff_adobe_deflate", tiffinfo={tags.PREDICTOR: predictor, tags.ROWS: 20})
    np.testing.assert_array_equal(EncodedPicture(buffer.getvalue()).decode(), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("tile", [None, 32])
def test_whole_files_of_gdal_and_libvips_are_read(tile: int | None) -> None:
    memory = pytest.importorskip("rasterio.io").MemoryFile
    size = {"width": 70, "height": 50, "count": 3, "dtype": "uint8", "photometric": "RGB", "interleave": "pixel"}
    tiled = {"tiled": True, "blockxsize": tile, "blockysize": tile} if tile else {}
    with memory() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it lies nowhere on the map
        with file.open(driver="GTiff", compress="DEFLATE", predictor=2, **size, **tiled) as out:
            out.write(PICTURE.transpose(2, 0, 1))
        np.testing.assert_array_equal(EncodedPicture(bytes(file.read())).decode(), PICTURE)
    image = pytest.importorskip("pyvips").Image.new_from_array(PICTURE)
    options = {"tile": True, "tile_width": tile, "tile_height": tile} if tile else {}
    data = image.tiffsave_buffer(compression="deflate", predictor="horizontal", **options)
    np.testing.assert_array_equal(EncodedPicture(data).decode(), PICTURE)
