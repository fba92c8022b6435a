"""Damaged JPEGs are refused, on the CPU and before the GPU; whole ones never are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import PictureError, UndecodablePictureError, UnsupportedPictureError
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.encoded import EncodedPicture
from tests.azaion_engine.pictures.picture_files import corners, encode, exif

END = b"\xff\xd9"
RNG = np.random.default_rng(11)
SCENE = np.clip(
    128 + 60 * np.sin(np.arange(310) / 11)[None, :, None] + RNG.normal(0, 25, (210, 310, 3)), 0, 255
).astype(np.uint8)
GREY = np.full((120, 160, 3), 128, np.uint8)
SCENES = {
    "scene": SCENE,
    "grey as libjpeg fills in": GREY,
    "grey below": np.concatenate([SCENE[:, :160], GREY]),
    "black": np.zeros((120, 160, 3), np.uint8),
    "one colour": GREY + np.uint8([70, 0, 20]),
    "a pixel": SCENE[:1, :1],
    "a column": SCENE[:, :1],
}
OPTIONS: list[dict[str, Any]] = [
    {}, {"subsampling": 0}, {"optimize": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3},
    {"progressive": True}, {"quality": 100}, {"exif": exif(1)},
]  # fmt: skip


def scan_of(data: bytes) -> int:
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_whole_jpegs_are_accepted_with_what_encoders_and_cameras_put_behind(name: str, mode: str) -> None:
    film = b"\0\0\0\x18ftypmp42" + RNG.integers(0, 256, 5000, dtype=np.uint8).tobytes()
    for options in OPTIONS:
        if mode == "CMYK" and "subsampling" in options:
            continue
        data = encode(Image.fromarray(SCENES[name]).convert(mode), "JPEG", **options)
        picture = decode(data)
        padded = data[:-2] + b"\xff" * 5 + END
        for other in (data + bytes(3000), data + film, data + data, padded, data[:-2] + bytes(3) + END):
            assert np.array_equal(decode(other), picture), options
            EncodedPicture(other).read_hardware_header()


def test_zeros_before_the_end_marker_are_padding() -> None:
    data = encode(SCENE, "JPEG")
    assert np.array_equal(decode(data[:-2] + bytes(2000) + END), decode(data))


def test_a_flat_picture_whose_codes_are_zeros_is_whole() -> None:
    flat = encode(Image.new("L", (2000, 1500), 200), "JPEG", optimize=True)
    assert bytes(256) in flat
    assert np.abs(decode(flat).astype(int) - 200).max() <= 1


@pytest.mark.parametrize("options", [*OPTIONS, {"progressive": True, "subsampling": 0, "optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_cut_anywhere_are_refused_with_and_without_an_end_marker(options: dict[str, Any], mode: str) -> None:
    if mode == "CMYK" and "subsampling" in options:
        options = {**options, "subsampling": -1}
    data = encode(Image.fromarray(SCENE).convert(mode), "JPEG", **options)
    start = scan_of(data)
    for share in (0, 0.01, 0.1, 0.4, 0.7, 0.95):
        cut = data[: start + int(share * (len(data) - start))]
        for damaged in (cut, cut + END):
            with pytest.raises(UndecodablePictureError, match="damaged or truncated"):
                decode(damaged)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_whose_second_half_was_never_written_are_refused(options: dict[str, Any], mode: str) -> None:
    if mode == "CMYK" and "subsampling" in options:
        options = {}
    data = encode(Image.fromarray(SCENE).convert(mode), "JPEG", **options)
    half = (scan_of(data) + len(data)) // 2
    for damaged in (data[:half] + bytes(len(data) - half), data[:half] + bytes(len(data) - half - 2) + END):
        with pytest.raises(UndecodablePictureError):
            decode(damaged)


def test_a_missing_piece_between_restart_markers_is_refused() -> None:
    data = encode(SCENE, "JPEG", restart_marker_rows=1)
    first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd3")
    with pytest.raises(UndecodablePictureError):
        decode(data[:first] + data[second:])


def test_the_gpu_never_gets_a_jpeg_with_a_sign_of_damage() -> None:
    for options, exif_block in itertools.product(({}, {"restart_marker_rows": 1}), (b"", exif(1))):
        data = encode(SCENE, "JPEG", exif=exif_block, **options)
        start = scan_of(data)
        assert EncodedPicture(data).read_hardware_header() is not None
        with pytest.raises(UndecodablePictureError):
            EncodedPicture(data[:start] + END).read_hardware_header()
        half = (start + len(data)) // 2
        assert EncodedPicture(data[:half] + bytes(len(data) - half - 2) + END).read_hardware_header() is None
        if options:
            assert EncodedPicture(data[:half] + END).read_hardware_header() is None


@pytest.mark.parametrize(
    ("frame", "bits", "name"),
    [(0xC1, 12, "12 bits"), (0xC0, 12, "12 bits"), (0xC3, 8, "lossless JPEG"), (0xC3, 16, "lossless JPEG"),
     (0xC5, 8, "hierarchical JPEG"), (0xCF, 8, "hierarchical JPEG"), (0xF7, 8, "JPEG-LS")],
)  # fmt: skip
def test_kinds_of_jpeg_that_are_not_decoded_are_named(frame: int, bits: int, name: str) -> None:
    data = bytearray(encode(corners(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = frame, bits
    for decoding in (decode, lambda other: EncodedPicture(other).read_hardware_header() or decode(other)):
        with pytest.raises(UnsupportedPictureError, match=name):
            decoding(bytes(data))


def test_apples_png_is_named() -> None:
    data = encode(corners(), "PNG")
    with pytest.raises(UnsupportedPictureError, match="CgBI"):
        decode(data[:8] + b"\0\0\0\4CgBI\x50\0\x20\x06" + bytes(4) + data[8:])
    with pytest.raises(PictureError):
        decode(data[:40])
