"""Drawing of boxes and readable labels onto a picture."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
_Rectangle = tuple[float, float, float, float]

# Pillow's built-in font has only ASCII. These cover Latin, Greek and Cyrillic, and come with Linux distributions, macOS
# or Windows. None of them is required: see `_writable`.
_FONT_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "LiberationSans-Regular.ttf",
    "FreeSans.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "Arial.ttf",
)

VISIBLE = 0.5
"""Visibility of a keypoint, 0…1, from which on it is taken for visible."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_boxes(
    picture: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    labels: Sequence[str],
    fallbacks: Sequence[str],
    corners: NDArray[np.float32] | None = None,
    keypoints: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """Draws boxes, keypoints and labels; sizes grow with the picture, every class has its own colour.

    Args:
        picture: uint8 `[height, width, 3]`, RGB; left unchanged.
        boxes: `[n, 4]` of x1, y1, x2, y2 in pixels, most important first: the first is drawn on top.
        class_ids: `[n]`; they decide the colours.
        labels: One text per box.
        fallbacks: One ASCII text per box, used where no installed font has all letters of the label.
        corners: Of oriented boxes, `[n, 4, 2]` of x, y in pixels: these are drawn in place of `boxes`.
        keypoints: `[n, count, 3]` of x, y in pixels and visibility: those of at least `VISIBLE` are drawn as discs.

    Returns:
        uint8 `[height, width, 3]`, RGB, a new array.
    """
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)  # copies
    draw = ImageDraw.Draw(image)
    side = min(max(width, height), 3 * min(width, height))  # limited for panoramas: their shorter side counts
    line = max(1, round(side / 500))
    font_size = max(10, round(side / 85))
    places, ids = boxes.tolist() if corners is None else corners.tolist(), class_ids.tolist()
    for place, class_id in reversed(list(zip(places, ids, strict=True))):
        outline = _outline_upright if corners is None else _outline_oriented
        outline(draw, place, (width, height), class_colour(class_id), line)
    if keypoints is not None:
        for points, class_id in reversed(list(zip(keypoints.tolist(), ids, strict=True))):
            _draw_points(draw, points, class_colour(class_id), line)
    # All labels after all boxes, so that no line crosses a text. Important labels come first; a label that would
    # cover another one is left out, because the colours still show the classes.
    placed: list[_Rectangle] = []
    for place, class_id, label, fallback in zip(places, ids, labels, fallbacks, strict=True):
        corner = place[:2] if corners is None else min(place, key=lambda point: point[1])
        font, text = _writable(label, fallback, font_size)
        _draw_label(draw, (corner[0], corner[1]), text, font, class_colour(class_id), (width, height), placed)
    return np.array(image)


def class_colour(class_id: int) -> Colour:
    """Returns the colour of a class: RGB, 0…255, clearly different from those of neighbouring ids.

    The hue advances by the golden ratio, which keeps any number of consecutive classes apart; saturation and brightness
    cycle through three pairs.
    """
    hue = (0.02 + class_id * 0.618033988749895) % 1.0
    saturation, value = ((0.9, 1.0), (0.75, 0.75), (0.55, 1.0))[class_id % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def text_colour(background: Colour) -> Colour:
    """Returns black or white, the one with the greater contrast (WCAG 2.2, relative luminance and contrast ratio)."""
    red, green, blue = (c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def _outline_upright(
    draw: ImageDraw.ImageDraw, box: Sequence[float], size: tuple[int, int], colour: Colour, line: int
) -> None:
    x1, y1, x2, y2 = box
    # Pillow draws up to and including the last pixel.
    right, below = max(min(x2, size[0]) - 1, x1), max(min(y2, size[1]) - 1, y1)
    draw.rectangle((x1, y1, right, below), outline=colour, width=line)


def _outline_oriented(
    draw: ImageDraw.ImageDraw, corners: Sequence[Sequence[float]], size: tuple[int, int], colour: Colour, line: int
) -> None:
    points = [(x, y) for x, y in corners]
    draw.line([*points, *points[:2]], fill=colour, width=line, joint="curve")  # the first corner gets its joint, too


def _draw_points(draw: ImageDraw.ImageDraw, points: Sequence[Sequence[float]], colour: Colour, line: int) -> None:
    radius = 1.5 * line + 0.5
    for x, y, visibility in points:
        if visibility >= VISIBLE:
            # A dark or light rim, so that a disc shows on its box's outline, too.
            disc = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(disc, fill=colour, outline=text_colour(colour))


def _draw_label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    font: _Font,
    colour: Colour,
    size: tuple[int, int],
    placed: list[_Rectangle],
) -> None:
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    margin = max(1, round((bottom - top) / 4))
    label_width, label_height = right - left + 2 * margin, bottom - top + 2 * margin
    # Above the box, or inside it where there is no room; never beyond the picture's right or lower edge.
    x = max(0, min(round(corner[0]), size[0] - int(label_width)))
    y = round(corner[1]) - int(label_height)
    if y < 0:
        y = max(0, min(round(corner[1]), size[1] - int(label_height)))
    area = (x, y, x + label_width - 1, y + label_height - 1)
    if any(area[0] <= b[2] and b[0] <= area[2] and area[1] <= b[3] and b[1] <= area[3] for b in placed):
        return
    placed.append(area)
    draw.rectangle(area, fill=colour)
    draw.text((x + margin - left, y + margin - top), text, font=font, fill=text_colour(colour))


def _writable(label: str, fallback: str, size: int) -> tuple[_Font, str]:
    """Returns a font with every letter of the label, or the ASCII text: labels must not show missing glyphs."""
    label = " ".join(label.split())  # a line break would make two lines
    if label.isascii() and label.isprintable():
        return _built_in_font(size), label
    font = _system_font(size)
    if font is not None and all(_has_glyph(font, letter) for letter in label):
        return font, label
    return _built_in_font(size), fallback


@functools.lru_cache(maxsize=16)
def _built_in_font(size: int) -> _Font:
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=16)
def _system_font(size: int) -> ImageFont.FreeTypeFont | None:
    for name in _FONT_FILES:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


def _has_glyph(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    # FreeType draws the same "missing glyph" for every letter that a font lacks; U+FFFF is never assigned.
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
