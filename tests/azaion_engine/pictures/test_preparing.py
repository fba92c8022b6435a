"""Preparer: every kind of picture, in each form that an engine takes."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from azaion_engine.errors import (
    EmptyBodyError,
    PictureError,
    PictureTooLargeError,
    UndecodablePictureError,
    UnsupportedPictureError,
)
from azaion_engine.pictures.codec import decode
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.pictures.header import PictureLimits
from azaion_engine.pictures.input_form import Fit, InputForm
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.pictures.prepared import (
    ArrayPicture,
    HeldTile,
    JpegPicture,
    PictureForm,
    PixelPicture,
    PreparedPicture,
    TilePicture,
)
from azaion_engine.pictures.preparing import HERE_BYTES, DecodePlace, Preparer
from tests.azaion_engine.pictures.picture_files import FORMATS, corners, encode, exif, noise, stored
from tests.stand_in import grey_picture

SIZE = (32, 64)
"""(height, width) of the network input: another aspect ratio than that of the pictures."""
FACTOR_411 = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]


def preparer(form: PictureForm, limits: PictureLimits = PictureLimits()) -> Preparer:  # noqa: B008 (frozen)
    return Preparer(SIZE, form, limits)


def content(prepared: PreparedPicture) -> np.ndarray:
    assert isinstance(prepared, (ArrayPicture, PixelPicture))
    return prepared.array if isinstance(prepared, ArrayPicture) else prepared.pixels


@pytest.mark.parametrize("format", FORMATS)
def test_an_engine_of_arrays_gets_the_letterboxed_network_input(format: str) -> None:
    data = encode(noise(48, 32), format)
    prepared = preparer(PictureForm.ARRAY).prepare(data)
    assert isinstance(prepared, ArrayPicture)
    assert prepared.letterbox == Letterbox.fit(48, 32, *SIZE)
    assert (prepared.array.dtype, prepared.array.shape) == (np.float32, (3, *SIZE))
    assert np.array_equal(prepared.array, prepared.letterbox.to_input(decode(data)))


@pytest.mark.parametrize("format", FORMATS)
def test_an_engine_of_pixels_gets_letterboxed_pixels(format: str) -> None:
    data = encode(noise(48, 32), format)
    prepared = preparer(PictureForm.PIXELS).prepare(data)
    assert isinstance(prepared, PixelPicture)
    assert prepared.letterbox == Letterbox.fit(48, 32, *SIZE)
    assert (prepared.pixels.dtype, prepared.pixels.shape) == (np.uint8, (*SIZE, 3))
    assert np.array_equal(prepared.pixels, prepared.letterbox.apply(decode(data)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_for_the_gpu_stays_encoded_and_its_letterbox_is_that_of_the_upright_picture(orientation: int) -> None:
    data = encode(stored(orientation), "JPEG", exif=exif(orientation))
    prepared = preparer(PictureForm.JPEG).prepare(data)
    assert prepared == JpegPicture(Letterbox.fit(48, 32, *SIZE), data, orientation)


@pytest.mark.parametrize(
    "data",
    [
        encode(corners(), "JPEG", progressive=True),
        encode(Image.fromarray(corners()).convert("CMYK"), "JPEG"),
        cv2.imencode(".jpg", corners(), FACTOR_411)[1].tobytes(),
        *(encode(corners(), format) for format in FORMATS if format != "JPEG"),
    ],
    ids=["progressive", "CMYK", "4:1:1", *(format for format in FORMATS if format != "JPEG")],
)
def test_what_the_gpu_does_not_decode_becomes_pixels(data: bytes) -> None:
    to_gpu = preparer(PictureForm.JPEG)
    prepared = to_gpu.prepare(data)
    assert isinstance(prepared, PixelPicture)
    assert np.array_equal(prepared.pixels, prepared.letterbox.apply(decode(data)))
    assert to_gpu.place_of(EncodedPicture(data)) is not DecodePlace.GPU


@pytest.mark.parametrize("form", PictureForm)
def test_only_an_engine_of_jpegs_leaves_a_jpeg_to_the_gpu(form: PictureForm) -> None:
    picture = EncodedPicture(encode(corners(), "JPEG"))
    assert (preparer(form).place_of(picture) is DecodePlace.GPU) == (form is PictureForm.JPEG)
    assert isinstance(preparer(form).prepare(picture), JpegPicture) == (form is PictureForm.JPEG)


@pytest.mark.parametrize("form", [PictureForm.ARRAY, PictureForm.PIXELS])
def test_bytes_a_path_its_text_an_encoded_picture_and_pixels_give_the_same(form: PictureForm, tmp_path: Path) -> None:
    data = encode(noise(48, 32), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    expected = preparer(form).prepare(data)
    for picture in (path, str(path), EncodedPicture(data), decode(data)):
        prepared = preparer(form).prepare(picture)
        assert prepared.letterbox == expected.letterbox
        assert np.array_equal(content(prepared), content(expected))


@pytest.mark.parametrize("fit", ["letterbox", "top_left", "stretch"])
def test_jpegs_and_tiles_for_the_gpu_are_fitted_as_the_network_wants(fit: Fit) -> None:
    to_gpu = Preparer(SIZE, PictureForm.JPEG, PictureLimits(), InputForm(fit=fit))
    jpeg = to_gpu.prepare(encode(noise(48, 32), "JPEG"))
    assert isinstance(jpeg, JpegPicture)
    assert jpeg.letterbox == Letterbox.fit(48, 32, *SIZE, fit)
    tile = to_gpu.prepare(HeldTile(7, 5, 6, 20, 10))
    assert tile == TilePicture(Letterbox.fit(20, 10, *SIZE, fit), HeldTile(7, 5, 6, 20, 10))


def test_pixels_are_never_left_to_the_gpus_decoder() -> None:
    assert isinstance(preparer(PictureForm.JPEG).prepare(corners()), PixelPicture)


@pytest.mark.parametrize(
    "view",
    [
        np.rot90(noise()),
        noise()[:, ::-1],
        noise()[..., ::-1],
        noise()[::2, ::3],
        np.frombuffer(noise().tobytes(), np.uint8).reshape(48, 64, 3),
    ],
    ids=["turned", "mirrored", "BGR", "every other", "read-only"],
)
@pytest.mark.parametrize("form", [PictureForm.ARRAY, PictureForm.PIXELS])
def test_pixels_of_any_memory_layout_are_taken(form: PictureForm, view: np.ndarray) -> None:
    expected = preparer(form).prepare(np.array(view, order="C"))
    assert np.array_equal(content(preparer(form).prepare(view)), content(expected))


@pytest.mark.parametrize("form", [PictureForm.ARRAY, PictureForm.PIXELS])
def test_pixels_are_copied_where_they_fit_the_network_too(form: PictureForm) -> None:
    pixels = noise(SIZE[1], SIZE[0])
    prepared = content(preparer(form).prepare(pixels))
    before = prepared.copy()
    pixels[...] = 0
    assert np.array_equal(prepared, before)


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 \[3, 4, 5\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"uint8 \[1, 4, 5, 3\]"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 \[0, 5, 3\]"),
        (np.zeros((4, 0, 3), np.uint8), r"uint8 \[4, 0, 3\]"),
    ],
)
@pytest.mark.parametrize("form", PictureForm)
def test_other_arrays_are_refused_with_what_was_expected_and_given(
    form: PictureForm, pixels: np.ndarray, told: str
) -> None:
    with pytest.raises(PictureError, match=r"expected uint8 RGB pixels \[height, width, 3\], given " + told):
        preparer(form).prepare(pixels)


@pytest.mark.parametrize("form", PictureForm)
def test_a_file_that_cannot_be_read_is_a_picture_error_with_its_path(form: PictureForm, tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none.jpg", "No such file"),
        (str(tmp_path / "none.jpg"), "No such file"),
        (tmp_path, "Is a directory"),
        ("a\0b.jpg", "null"),
    ):
        with pytest.raises(PictureError, match=why) as caught:
            preparer(form).prepare(path)
        assert str(caught.value).startswith(f"cannot read {str(path)!r}: ")


@pytest.mark.parametrize("form", PictureForm)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_bytes_that_are_no_whole_picture_are_refused_in_every_form(form: PictureForm, format: str) -> None:
    data = encode(noise(), format)
    for bad, error in (
        (b"", EmptyBodyError),
        (b"no picture", UnsupportedPictureError),
        (data[: len(data) // 2], UndecodablePictureError),
    ):
        with pytest.raises(error):
            preparer(form).prepare(bad)


@pytest.mark.parametrize("form", PictureForm)
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_the_limits_hold_for_bytes_and_files_in_every_form(form: PictureForm, format: str, tmp_path: Path) -> None:
    data = encode(noise(48, 32), format)
    path = tmp_path / "a"
    path.write_bytes(data)
    for picture in (data, path):
        preparer(form, PictureLimits(len(data), 48 * 32)).prepare(picture)
        with pytest.raises(PictureTooLargeError, match="bytes"):
            preparer(form, PictureLimits(len(data) - 1, 48 * 32)).prepare(picture)
        with pytest.raises(PictureTooLargeError, match="pixels"):
            preparer(form, PictureLimits(len(data), 48 * 32 - 1)).prepare(picture)


def test_one_preparer_serves_many_threads() -> None:
    shared = preparer(PictureForm.ARRAY)
    pictures = [noise(width, 40) for width in range(20, 60)]
    expected = [content(shared.prepare(picture)) for picture in pictures]
    wrong: list[int] = []

    def work() -> None:
        for i, picture in enumerate(pictures):
            if not np.array_equal(content(shared.prepare(picture)), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_only_a_tiny_jpeg_is_decoded_where_it_comes_in() -> None:
    def place(data: bytes, size: tuple[int, int] = SIZE) -> DecodePlace:
        return Preparer(size, PictureForm.ARRAY, PictureLimits()).place_of(EncodedPicture(data))

    jpeg, large = grey_picture(1, "JPEG"), grey_picture(1, "JPEG", 300)
    assert place(jpeg) is DecodePlace.HERE
    assert place(jpeg + bytes(HERE_BYTES)) is DecodePlace.THREAD
    assert place(large) is DecodePlace.THREAD
    assert len(large) < HERE_BYTES
    # 1 bit a pixel and compressed, a file of a few kilobytes may take seconds.
    assert place(grey_picture(1, "PNG")) is DecodePlace.THREAD
    assert place(jpeg, (320, 320)) is DecodePlace.THREAD, "its network's input takes as long to fill"


def test_bytearrays_and_memoryviews_are_encoded_pictures() -> None:
    data = encode(noise(48, 32), "PNG")
    expected = content(preparer(PictureForm.PIXELS).prepare(data))
    for same in (bytearray(data), memoryview(data), memoryview(b"x" + data)[1:]):
        assert np.array_equal(content(preparer(PictureForm.PIXELS).prepare(same)), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA"])
def test_a_pil_image_is_the_picture_that_its_file_is(mode: str) -> None:
    image = Image.fromarray(noise(48, 32)).convert(mode)
    prepared = preparer(PictureForm.PIXELS).prepare(image)
    assert np.array_equal(content(prepared), Letterbox.fit(48, 32, *SIZE).apply(np.array(image.convert("RGB"))))


def test_a_pil_image_is_turned_upright_limited_and_its_damage_told() -> None:
    data = encode(stored(6), "JPEG", exif=exif(6), quality=95, subsampling=0)
    upright = content(preparer(PictureForm.PIXELS).prepare(Image.open(io.BytesIO(data))))
    assert np.array_equal(upright, content(preparer(PictureForm.PIXELS).prepare(data)))
    with pytest.raises(PictureTooLargeError):
        preparer(PictureForm.PIXELS, PictureLimits(max_pixels=9)).prepare(Image.new("L", (4, 4)))
    with pytest.raises(UndecodablePictureError):
        preparer(PictureForm.PIXELS).prepare(Image.open(io.BytesIO(encode(noise(), "PNG")[:3000])))
    deep = Image.fromarray((np.linspace(0, 4095, 64).astype(np.uint16)[None]).repeat(32, axis=0))
    assert content(preparer(PictureForm.PIXELS).prepare(deep)).max() == 255
