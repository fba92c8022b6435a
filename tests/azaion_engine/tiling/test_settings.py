"""What callers may ask for as tiles, and what it means for a picture."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from azaion_engine.errors import InvalidParameterError, PictureTooLargeError
from azaion_engine.settings import DetectorSettings, Tiles
from azaion_engine.tiling.settings import TilesWish, plan_tiles, tiles_of
from azaion_engine.tiling.tile import Tile


@pytest.mark.parametrize(
    ("given", "size"),
    [("auto", "auto"), ("off", "off"), (False, "off"), (True, "auto"), (1280, 1280), ("1280", 1280), ({}, "auto")],
)
def test_the_short_forms_mean_the_same_in_settings_and_calls(given: Any, size: object) -> None:
    assert DetectorSettings(tiles=given).tiles.size == size
    assert tiles_of(given, Tiles(size=64)).size == size


def test_tiles_are_off_unless_asked_for() -> None:
    assert not DetectorSettings().tiles.enabled
    assert tiles_of(None, DetectorSettings().tiles).size == "off"


def test_a_call_changes_what_it_names_and_keeps_the_rest_of_the_settings() -> None:
    own = Tiles(size="off", overlap=0.4, max_tiles=9)
    assert tiles_of(700, own) == Tiles(size=700, overlap=0.4, max_tiles=9)
    assert tiles_of({"overlap": 0.1}, own) == Tiles(size="auto", overlap=0.1, max_tiles=9)


@pytest.mark.parametrize("wrong", ["big", 31, 10**9, 1.5, {"overlap": 2}, {"sizes": 3}, {"match": "ioa"}, {1: 2}])
def test_other_values_are_refused_by_name(wrong: TilesWish) -> None:
    with pytest.raises(InvalidParameterError, match=r"^tiles"):
        tiles_of(wrong, Tiles())


def test_settings_refuse_a_wrong_key_by_name() -> None:
    with pytest.raises(ValidationError, match=r"tiles\.overlaps"):
        DetectorSettings(tiles={"overlaps": 0.2})


def test_auto_cuts_only_pictures_much_larger_than_the_network() -> None:
    assert plan_tiles(960, 960, (640, 640), Tiles()) == []
    assert plan_tiles(400, 961, (640, 640), Tiles(full_picture=False)) == [Tile(0, 0, 640, 400), Tile(321, 0, 640, 400)]


def test_the_whole_picture_comes_first() -> None:
    whole, *tiles = plan_tiles(1000, 2000, (640, 640), Tiles())
    assert whole == Tile(0, 0, 2000, 1000)
    assert len(tiles) == 8


def test_a_size_cuts_every_larger_picture() -> None:
    assert plan_tiles(700, 700, (640, 640), Tiles(size=700)) == []
    assert len(plan_tiles(701, 700, (640, 640), Tiles(size=700))) == 3
    assert plan_tiles(10_000, 10_000, (640, 640), Tiles(size="off")) == []


def test_too_many_tiles_are_refused_with_their_number_and_the_limit() -> None:
    assert len(plan_tiles(10_000, 10_000, (640, 640), Tiles(max_tiles=401))) == 401
    with pytest.raises(PictureTooLargeError, match="10000×10000 pixels takes 401 tiles, at most 400"):
        plan_tiles(10_000, 10_000, (640, 640), Tiles(max_tiles=400))
