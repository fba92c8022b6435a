"""What OpenCV and Pillow both read, and libvips where it is installed, is read here, to the same pixels."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.pictures.codec import decode
from tests.azaion_engine.pictures.picture_files import encode, png_chunk
from tests.azaion_engine.pictures.readers.tiff_files import tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PICTURE = cv2.resize(np.random.default_rng(2).integers(0, 256, (9, 13, 3), dtype=np.uint8), (91, 63))
GREY = PICTURE[..., 0]
ICC = b"\0" * 1_500_000


def with_chunk(name: bytes, body: bytes, broken: bool = False) -> bytes:
    data = encode(PICTURE, "PNG")
    chunk = png_chunk(name, body)
    return data[:33] + (chunk[:-1] + bytes([chunk[-1] ^ 1]) if broken else chunk) + data[33:]


def files() -> dict[str, bytes]:
    image, grey = Image.fromarray(PICTURE), Image.fromarray(GREY)
    made: dict[str, bytes] = {}
    for format in ("PNG", "BMP", "TIFF", "JPEG", "WEBP"):
        lossless = {"lossless": True} if format == "WEBP" else {}
        made[f"{format} colour"] = encode(image, format, **lossless)
        made[f"{format} grey"] = encode(grey, format, **lossless)
        made[f"{format} with a tail"] = encode(image, format, **lossless) + b"\0\0\0\x18ftypmp42" * 99
        if format != "JPEG":
            made[f"{format} palette"] = encode(image.quantize(64), format, **lossless)
            made[f"{format} bilevel"] = encode(grey.convert("1"), format, **lossless)
            if format != "BMP":
                made[f"{format} alpha"] = encode(np.dstack([PICTURE, GREY | 1]), format, **lossless, exact=True)
        if format in ("PNG", "JPEG", "WEBP", "TIFF"):
            made[f"{format} with a large profile"] = encode(image, format, icc_profile=ICC, **lossless)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        made[f"TIFF {compression}"] = encode(image, "TIFF", compression=compression)
    for options in ({"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}, {"optimize": True}):
        made[f"JPEG {options}"] = encode(image, "JPEG", **options)
    for order, big in (("<", True), (">", True), (">", False)):
        made[f"TIFF {order} {big}"] = tiff(PICTURE, order=order, big=big)
    made["TIFF in tiles"] = tiff(PICTURE, tile=16)
    made["TIFF with planes apart"] = tiff(PICTURE, separate=True)
    made["PNG with a long text"] = with_chunk(b"zTXt", b"a\0\0" + b"x" * 1_200_000)
    made["PNG with a broken text"] = with_chunk(b"tEXt", b"a\0b", broken=True)
    made["PNG with a broken profile"] = with_chunk(b"iCCP", b"a\0\0nonsense")
    made["PNG with a gamma"] = with_chunk(b"gAMA", (45455).to_bytes(4, "big"))
    for name, deep in (("grey", GREY), ("colour", PICTURE)):
        high = deep.astype(np.uint16) * 257
        made[f"PNG 16 bits {name}"] = cv2.imencode(".png", high)[1].tobytes()
        made[f"TIFF 16 bits {name}"] = cv2.imencode(".tiff", high)[1].tobytes()
    return made


FILES = files()


def by_opencv(data: bytes) -> np.ndarray | None:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def by_pillow(data: bytes) -> np.ndarray | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            return np.asarray(image.convert("RGB")) if not image.mode.startswith("I") else None
    except Exception:
        return None


@pytest.mark.parametrize("name", FILES)
def test_what_opencv_and_pillow_read_is_read_to_the_same_pixels(name: str) -> None:
    data = FILES[name]
    picture = decode(data).astype(int)
    # They differ on alpha in TIFF, which OpenCV multiplies with the colours.
    expected = [pixels for pixels in (by_opencv(data), by_pillow(data)) if pixels is not None]
    assert expected, "no reader reads the test's own file"
    assert min(np.abs(picture - pixels).max() for pixels in expected) <= 1


@pytest.mark.parametrize("name", FILES)
def test_what_libvips_reads_is_read_to_the_same_pixels(name: str) -> None:
    pyvips = pytest.importorskip("pyvips")
    if FILES[name].startswith(b"BM"):
        pytest.skip("libvips reads no BMP by itself")
    image = pyvips.Image.new_from_buffer(FILES[name], "", access="sequential")
    if image.format != "uchar":
        pytest.skip("libvips keeps 16 bits")
    pixels = image.numpy()
    colours = (
        pixels[..., :3] if pixels.ndim == 3 and pixels.shape[2] >= 3 else pixels.reshape(*pixels.shape[:2], -1)[..., :1]
    )
    assert np.abs(decode(FILES[name]).astype(int) - colours).max() <= 2
