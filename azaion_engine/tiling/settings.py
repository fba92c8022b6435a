"""Tiles as callers ask for them, and the tiles that they mean for one picture."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from azaion_engine.errors import InvalidParameterError, PictureTooLargeError, quote
from azaion_engine.settings import Tiles
from azaion_engine.tiling.grid import count_tiles, grid
from azaion_engine.tiling.tile import Tile

__all__ = ["LARGE", "Tiles", "TilesWish", "plan_tiles", "tiles_of"]

TilesWish = Tiles | dict[str, Any] | str | int | bool | None
"""`auto`, a size in pixels, `off` (or False), a mapping of `Tiles`' fields, `Tiles`; None: as the settings say."""

LARGE = 1.5
"""`auto` cuts pictures more than this many times as long as the network's input: shrunk less, objects stay visible."""

_EXPECTED = "auto, off or a size in pixels, 32 to 32768"


def tiles_of(wish: TilesWish, settings: Tiles) -> Tiles:
    """Returns what a caller asks for.

    Args:
        wish: What was given; a short form changes the size only.
        settings: The detector's own.

    Raises:
        InvalidParameterError: It is none of the accepted forms.
    """
    if wish is None:
        return settings
    if isinstance(wish, Tiles):
        return wish
    given = wish if isinstance(wish, dict) else {"size": wish.strip() if isinstance(wish, str) else wish}
    try:
        return Tiles(**{**settings.model_dump(exclude={"size"}), "size": "auto", **given})
    except (ValidationError, TypeError) as error:
        if not isinstance(wish, dict):
            raise InvalidParameterError(f"tiles: expected {_EXPECTED}, given {quote(wish)}") from error
        if isinstance(error, TypeError):  # a key that is no text
            raise InvalidParameterError(f"tiles: expected the keys of Tiles, given {quote(wish)}") from error
        fault = error.errors(include_url=False)[0]
        name = ".".join(("tiles", *map(str, fault["loc"][:1])))
        raise InvalidParameterError(f"{name}: {fault['msg']}, given {quote(wish)}") from error


def plan_tiles(height: int, width: int, network: tuple[int, int], tiles: Tiles) -> list[Tile]:
    """Returns what the network is to see of a picture.

    Args:
        height: Of the upright picture, in pixels.
        width: Likewise.
        network: (height, width) of the network input, in pixels.
        tiles: What is asked for.

    Returns:
        The whole picture, if it is looked at too, and the tiles; empty if the picture is not to be cut.

    Raises:
        PictureTooLargeError: There would be more tiles than `max_tiles`.
    """
    if (
        tiles.size == "off"
        or min(height, width) < 1
        or (tiles.size == "auto" and max(height, width) <= LARGE * max(network))
    ):
        return []
    size = network if tiles.size == "auto" else (tiles.size, tiles.size)
    count = count_tiles(height, width, size=size, overlap=tiles.overlap)
    if count == 1:
        return []
    count += tiles.full_picture
    if count > tiles.max_tiles:
        raise PictureTooLargeError(
            f"tiles: the picture of {width}×{height} pixels takes {count} tiles, at most {tiles.max_tiles} are "
            "accepted (max_tiles)"
        )
    whole = [Tile(0, 0, width, height)] if tiles.full_picture else []
    return whole + grid(height, width, size=size, overlap=tiles.overlap)
