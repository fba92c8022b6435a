"""Detector with tiles: large pictures are cut, decoded once, and answered in order among small ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from azaion_engine import Detector
from azaion_engine.errors import (
    InvalidParameterError,
    PictureTooLargeError,
    TooManyBoxesError,
    UndecodablePictureError,
)
from azaion_engine.model.file import sample_picture
from azaion_engine.pictures.codec import decode, encode_jpeg
from azaion_engine.pictures.encoded import EncodedPicture
from azaion_engine.results.detections import Detections
from azaion_engine.settings import Tiles
from azaion_engine.tiling import neighbours, tiled_picture
from azaion_engine.tiling.tiled_picture import Piece, TiledPicture

SIDE = 320
APART = {"size": SIDE, "overlap": 0, "full_picture": False}


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with Detector.open(engine="onnx", height=SIDE, width=SIDE, batch_size=3) as detector:
        yield detector


@pytest.fixture(scope="module")
def part() -> NDArray[np.uint8]:
    return decode(sample_picture())[400 : 400 + SIDE, 500 : 500 + SIDE]


@pytest.fixture(scope="module")
def mosaic(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.tile(part, (2, 3, 1))


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the encoded pictures that are decoded."""
    sizes: list[int] = []
    decode = EncodedPicture.decode
    monkeypatch.setattr(EncodedPicture, "decode", lambda self: sizes.append(len(self.data)) or decode(self))
    return sizes


def _sorted(found: Detections) -> NDArray[np.float32]:
    rows = np.column_stack([found.boxes, found.confidences, found.class_ids])
    return rows[np.lexsort(rows.T)]


def test_tiles_give_the_boxes_of_the_same_pictures_cut_by_hand(
    detector: Detector, part: NDArray[np.uint8], mosaic: NDArray[np.uint8]
) -> None:
    [one] = detector.detect(part)
    assert len(one) > 5
    by_hand = [one.boxes + np.array([x, y, x, y]) for y in (0, SIDE) for x in (0, SIDE, 2 * SIDE)]
    [found] = detector.detect(mosaic, tiles=APART)
    assert (found.picture_width, found.picture_height) == (3 * SIDE, 2 * SIDE)
    assert np.allclose(sorted(found.boxes.tolist()), sorted(np.concatenate(by_hand).tolist()), atol=1e-3)


def test_overlapping_tiles_find_no_less_than_pictures_cut_by_hand_and_more_than_the_whole_picture(
    detector: Detector, mosaic: NDArray[np.uint8]
) -> None:
    [whole], [tiles], [apart] = (detector.detect(mosaic, tiles=one) for one in ("off", "auto", APART))
    assert len(tiles) > len(whole)
    assert len(tiles) >= len(apart)


def test_an_encoded_picture_is_decoded_once(
    detector: Detector, mosaic: NDArray[np.uint8], decodes: list[int], tmp_path: Path
) -> None:
    data = encode_jpeg(mosaic)
    (tmp_path / "mosaic.jpg").write_bytes(data)
    [by_bytes] = detector.detect(data, tiles="auto")
    [by_path] = detector.detect(tmp_path / "mosaic.jpg", tiles="auto")
    assert decodes == [len(data)] * 2
    [by_array] = detector.detect(decode(data), tiles="auto")
    np.testing.assert_array_equal(_sorted(by_bytes), _sorted(by_array))
    np.testing.assert_array_equal(_sorted(by_path), _sorted(by_array))


def test_results_keep_the_order_of_pictures_and_bad_ones_stop_nothing(
    detector: Detector, part: NDArray[np.uint8], mosaic: NDArray[np.uint8]
) -> None:
    large = encode_jpeg(mosaic)
    damaged = large[: len(large) // 2]
    given = [b"none", lambda: mosaic, part, damaged, lambda: encode_jpeg(part), large, b"none"]
    found = list(detector.detect_each(given, tiles="auto"))
    assert [isinstance(one, Detections) for one in found] == [False, True, True, False, True, True, False]
    assert isinstance(found[3], UndecodablePictureError)
    [alone] = detector.detect(mosaic, tiles="auto")
    np.testing.assert_array_equal(_sorted(found[1]), _sorted(alone))
    assert [found[1].picture_width, found[2].picture_width, found[5].picture_width] == [960, 320, 960]


def test_the_way_of_the_settings_is_the_default_and_a_call_may_change_it(mosaic: NDArray[np.uint8]) -> None:
    with Detector.open(engine="onnx", height=SIDE, width=SIDE, tiles={"overlap": 0.3}) as detector:
        assert detector.tiles == Tiles(size="auto", overlap=0.3)
        [by_default], [asked], [off] = (detector.detect(mosaic, tiles=one) for one in (None, "auto", "off"))
    np.testing.assert_array_equal(_sorted(by_default), _sorted(asked))
    assert len(off) < len(asked)


def test_a_number_of_boxes_that_is_asked_for_is_that_of_the_picture(
    detector: Detector, mosaic: NDArray[np.uint8]
) -> None:
    [all_], [few] = (detector.detect(mosaic, tiles="auto", max_detections=most) for most in (None, 7))
    assert len(few) == 7
    np.testing.assert_array_equal(few.confidences, all_.confidences[:7])


def test_too_many_tiles_are_refused_before_a_pixel_is_decoded(
    detector: Detector, mosaic: NDArray[np.uint8], decodes: list[int]
) -> None:
    with pytest.raises(PictureTooLargeError, match=r"960×640 pixels takes 13 tiles, at most 12"):
        detector.detect(encode_jpeg(mosaic), tiles={"max_tiles": 12})
    assert decodes == []


def test_other_values_are_refused_by_name(detector: Detector, mosaic: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidParameterError, match="tiles: expected auto, off or a size"):
        detector.detect(mosaic, tiles="huge")


def test_memory_of_decodes_is_given_back_when_the_caller_stops_early(
    detector: Detector, mosaic: NDArray[np.uint8]
) -> None:
    large = encode_jpeg(mosaic)
    each = detector.detect_each([large] * 5, tiles="auto")
    next(each)
    each.close()  # type: ignore[attr-defined]
    with detector.decode_memory.hold(detector.decode_memory.limit, timeout_s=5):
        pass


def test_a_picture_whose_tiles_have_too_many_boxes_fails_alone(
    detector: Detector, part: NDArray[np.uint8], mosaic: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "MOST_PAIRS", 0)
    tiles = {"size": SIDE, "overlap": 0.5, "full_picture": False}
    crowded, small = detector.detect_each([mosaic, part], tiles=tiles)
    assert isinstance(crowded, TooManyBoxesError)
    assert isinstance(small, Detections)


def test_the_next_pictures_are_detected_while_one_is_merged(
    detector: Detector, mosaic: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces, merges = 0, []
    both = threading.Event()
    answer, merge = TiledPicture.answer, tiled_picture.merge

    def count(picture: TiledPicture, piece: Piece, found: Detections) -> bool:
        nonlocal pieces
        pieces += 1
        if pieces > 3 * len(picture.pieces):
            both.set()
        return answer(picture, piece, found)

    def wait(*given: Any) -> Detections:
        merges.append(both.wait(20))
        return merge(*given)

    monkeypatch.setattr(TiledPicture, "answer", count)
    monkeypatch.setattr(tiled_picture, "merge", wait)
    found = list(detector.detect_each([mosaic, mosaic[::-1].copy(), mosaic, mosaic], tiles=APART))
    assert merges == [True] * 4
    assert [len(one) for one in found if isinstance(one, Detections)] == [len(found[0]), len(found[1])] + [
        len(found[0])
    ] * 2
