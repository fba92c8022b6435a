"""Memory of decodes: what each format takes is at most what it is charged with, alone and many at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, features

from tests.azaion_engine.pictures.picture_files import encode, exif
from tests.azaion_engine.pictures.readers.tiff_files import tiff
from tests.hostile.measuring import measure_in_child

SIDE = 2400
_MIB = 2**20


def textured() -> np.ndarray:
    tile = np.random.default_rng(3).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    return np.tile(tile, (SIDE // 48, SIDE // 48, 1))


def one_strip(compression: str, rows: int = SIDE) -> dict[str, Any]:
    return {"compression": compression, "tiffinfo": {278: rows}}


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("RGB", "JPEG", {}),
    "JPEG turned": ("RGB", "JPEG", {"exif": exif(5)}),
    "JPEG progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "JPEG progressive, turned": ("RGB", "JPEG", {"progressive": True, "exif": exif(6)}),
    "JPEG CMYK, progressive": ("CMYK", "JPEG", {"progressive": True, "subsampling": 0}),
    "JPEG grey, progressive": ("L", "JPEG", {"progressive": True}),
    "PNG": ("RGB", "PNG", {"compress_level": 1}),
    "PNG turned": ("RGB", "PNG", {"compress_level": 1, "exif": exif(5)}),
    "PNG alpha": ("RGBA", "PNG", {"compress_level": 1}),
    "PNG palette": ("P", "PNG", {"compress_level": 1}),
    "PNG bilevel": ("1", "PNG", {}),
    "PNG 16 bits": ("I;16", "PNG", {"compress_level": 1}),
    "WebP": ("RGB", "WEBP", {"method": 0}),
    "WebP lossless": ("RGB", "WEBP", {"method": 0, "lossless": True, "quality": 0}),
    "WebP alpha": ("RGBA", "WEBP", {"method": 0}),
    "BMP": ("RGB", "BMP", {}),
    "TIFF": ("RGB", "TIFF", {}),
    "TIFF one strip": ("RGB", "TIFF", one_strip("tiff_lzw")),
    "TIFF JPEG": ("RGB", "TIFF", one_strip("jpeg")),
    "TIFF Deflate": ("RGBA", "TIFF", {"compression": "tiff_adobe_deflate", "tiffinfo": {278: SIDE, 317: 2}}),
    "TIFF CMYK": ("CMYK", "TIFF", one_strip("tiff_lzw")),
    "TIFF float": ("F", "TIFF", one_strip("tiff_lzw")),
    "TIFF turned": ("RGB", "TIFF", {"compression": "tiff_lzw", "tiffinfo": {274: 6}}),
}


def picture(kind: str) -> bytes:
    mode, format, options = KINDS[kind]
    image = Image.fromarray(textured())
    if mode == "I;16":
        image = Image.fromarray(textured()[..., 0].astype(np.uint16) * 257)
    else:
        image = image.convert("L").convert("F") if mode == "F" else image.convert(mode)
    kept, ImageFile.MAXBLOCK = ImageFile.MAXBLOCK, 2**26  # Pillow's encoder needs it for large files
    try:
        return encode(image, format, **options)
    finally:
        ImageFile.MAXBLOCK = kept


def with_grey_end(rows: int = 16) -> np.ndarray:
    """Returns the picture and grey rows below: what libjpeg fills in, and many zeros of a WebP."""
    return np.vstack([textured(), np.full((rows, SIDE, 3), 128, np.uint8)])


def textured_samples(kind: str, bands: int) -> np.ndarray:
    samples = np.tile(textured()[..., :1], (1, 1, bands)).astype(kind)
    return samples if bands > 1 else samples[..., 0]


def modern(format: str) -> bytes:
    """Encodes by the packages of the extra `formats`."""
    # The decoder's memory is that of the encoders' own settings, which take 6 s (JPEG XL), 27 s (HEIC) and 5 s (AVIF).
    if format == "JPEG XL":
        return bytes(pytest.importorskip("imagecodecs").jpegxl_encode(textured(), effort=3))
    if format == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    elif not features.check("avif"):
        pytest.skip("this Pillow has no AVIF decoder")
    fast = {"AVIF": {"speed": 10}, "HEIF": {"enc_params": {"preset": "ultrafast"}}}
    return encode(textured(), format, quality=60, **fast[format])


OTHERS: dict[str, Callable[[], bytes]] = {
    "TIFF float64 RGB": lambda: tiff(textured_samples("f8", 3), rows=64, deflate=True),
    "TIFF float32, turned": lambda: tiff(textured_samples("f4", 1), more={274: (5,)}),
    "TIFF 16 bits RGB, planes apart": lambda: tiff(textured_samples("u2", 3), separate=True, deflate=True),
    "TIFF int8": lambda: tiff(textured_samples("i1", 1)),
    "TIFF CIELab": lambda: tiff(textured(), photometric=8, rows=SIDE),
    "PNG 16 bits colour, dark": lambda: cv2.imencode(".png", textured_samples("u2", 4))[1].tobytes(),
    # Well compressed, so that copies of the file do not count.
    "PNG 16 bits colour, even": lambda: cv2.imencode(".png", np.full((SIDE, SIDE, 4), 700, np.uint16))[1].tobytes(),
    "JPEG that ends grey": lambda: encode(with_grey_end(), "JPEG"),
    "TIFF JPEG that ends grey": lambda: encode(with_grey_end(), "TIFF", **one_strip("jpeg", SIDE + 16)),
    "TIFF JPEG that ends grey, grey": lambda: encode(with_grey_end()[..., 0], "TIFF", **one_strip("jpeg", SIDE + 16)),
    "WebP with zeros in its data": lambda: encode(with_grey_end(SIDE), "WEBP", method=0, lossless=True, quality=0),
    "AVIF": lambda: modern("AVIF"),
    "HEIC": lambda: modern("HEIF"),
    "JPEG XL": lambda: modern("JPEG XL"),
}
"""Kinds that Pillow does not write, or that no mix of pictures needs besides."""


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_too_take_at_most_what_they_are_charged(kind: str, tmp_path: Path) -> None:
    cost = measure_in_child(OTHERS[kind](), tmp_path)
    print(f"{kind}: {cost.peak / SIDE**2:.1f} bytes a pixel, charged {cost.allowed / SIDE**2:.1f}, {cost.cpu_s:.2f} s")
    assert cost.outcome == "picture"
    # What libjxl takes depends on the tools that the encoder chose: floats are charged.
    assert cost.allowed / (20 if kind == "JPEG XL" else 5) < cost.peak <= cost.allowed


@pytest.mark.parametrize("kind", KINDS)
def test_a_decode_takes_at_most_what_it_is_charged(kind: str, tmp_path: Path) -> None:
    cost = measure_in_child(picture(kind), tmp_path)
    print(f"{kind}: {cost.peak / SIDE**2:.1f} bytes a pixel, charged {cost.allowed / SIDE**2:.1f}, {cost.cpu_s:.2f} s")
    assert cost.outcome == "picture"
    assert cost.peak <= cost.allowed
    assert cost.peak > cost.allowed / 5  # else the figure is out of date, and pictures are refused for nothing


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "PNG", "WebP", "BMP", "TIFF one strip"])
def test_without_memory_the_error_says_so_and_the_picture_is_not_called_damaged(kind: str, tmp_path: Path) -> None:
    cost = measure_in_child(picture(kind), tmp_path, limit_bytes=12 * _MIB)
    assert cost.outcome == "out_of_memory", cost


_MANY = """
import sys, threading
from pathlib import Path
from azaion_engine.errors import PictureTooLargeError
from azaion_engine.pictures.bounds.decode_memory import DecodeMemory
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.prepared import PictureForm
from azaion_engine.pictures.preparing import Preparer
from tests.hostile import measuring

pictures = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
preparer = Preparer((64, 64), PictureForm.ARRAY, PictureLimits(), memory=DecodeMemory(int(sys.argv[2])))
measuring.warm_up()
measuring._reset_peak()
before, done, refused = measuring._status("VmRSS"), [], []

def work(shift):
    for at in range(len(pictures)):
        try:
            preparer.prepare(pictures[(at + shift) % len(pictures)])
            done.append(at)
        except PictureTooLargeError:
            refused.append(at)

threads = [threading.Thread(target=work, args=(3 * shift,)) for shift in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(measuring._status("VmHWM") - before, len(done), len(refused))
"""


def test_any_mix_of_pictures_at_once_stays_within_the_budget(tmp_path: Path) -> None:
    for index, kind in enumerate(KINDS):
        (tmp_path / f"{index:02d}").write_bytes(picture(kind))
    budget = 192 * _MIB
    ended = subprocess.run(
        [sys.executable, "-c", _MANY, str(tmp_path), str(budget)],
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    peak, done, refused = map(int, ended.stdout.split())
    print(f"{done} decoded and {refused} refused by 4 threads: {peak / _MIB:.0f} MiB of {budget / _MIB:.0f}")
    assert (done, refused) == (4 * len(KINDS), 0)
    # Half as much again is for the heap that glibc keeps for each thread.
    assert budget / 3 < peak < 1.5 * budget + 32 * _MIB
