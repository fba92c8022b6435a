"""Drawing: boxes in their places, labels readable and inside the picture."""

from __future__ import annotations

import numpy as np
import pytest

from azaion_engine.results import drawing
from azaion_engine.results.drawing import class_colour, draw_boxes, text_colour


def draw(picture: np.ndarray, *boxes: tuple[float, ...], label: str = "car 0.90") -> np.ndarray:
    count = len(boxes)
    return draw_boxes(
        picture, np.array(boxes, np.float32).reshape(-1, 4), np.arange(count), [label] * count, ["class_0 0.90"] * count
    )


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_the_given_picture_is_left_alone() -> None:
    picture = grey(200, 300)
    drawn = draw(picture, (50, 60, 150, 160))
    assert (picture == 128).all()
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.uint8
    assert drawn.flags.writeable


def test_a_box_is_outlined_in_the_colour_of_its_class_and_its_inside_kept() -> None:
    drawn = draw(grey(400, 400), (100, 150, 300, 350))
    colour = list(class_colour(0))
    for y, x in ((150, 200), (349, 200), (250, 100), (250, 299)):
        assert drawn[y, x].tolist() == colour
    assert (drawn[160:340, 110:290] == 128).all()
    assert (drawn[351:, :] == 128).all()
    assert (drawn[:, 301:] == 128).all()


def test_nothing_to_draw_gives_a_copy() -> None:
    picture = grey(20, 30)
    drawn = draw(picture)
    assert np.array_equal(drawn, picture)
    assert not np.shares_memory(drawn, picture)


@pytest.mark.parametrize(
    "box",
    [(0, 0, 40, 40), (560, 0, 600, 40), (0, 360, 40, 400), (560, 360, 600, 400), (0, 0, 600, 400), (0, 0, 600, 2)],
)
def test_a_label_at_any_edge_stays_whole_inside_the_picture(box: tuple[float, ...]) -> None:
    small, large = np.zeros((400, 600, 3), np.uint8), np.zeros((1200, 1800, 3), np.uint8)
    inside = draw(small, box)
    # A whole label fills at least the area of its text.
    font, text = drawing._writable("car 0.90", "", max(10, round(600 / 55)))
    left, top, right, bottom = font.getbbox(text)
    filled = (inside != 0).any(axis=2).sum()
    assert filled >= (right - left) * (bottom - top) * 0.9
    assert draw(large, box).shape == large.shape


def test_lines_grow_with_the_picture() -> None:
    def thickness(side: int) -> int:
        column = draw(grey(side, side), (side * 0.3, side * 0.3, side * 0.7, side * 0.7))[:, side // 2 + side // 8]
        return int((column != 128).any(axis=1).sum())

    assert thickness(3000) > thickness(800) > 0


def test_tiny_and_extreme_pictures_do_not_fail() -> None:
    for shape in ((1, 1), (3, 4), (1, 3000), (3000, 1)):
        assert draw(grey(*shape), (0, 0, shape[1], shape[0])).shape == (*shape, 3)


def test_boxes_thinner_than_their_line_do_not_fail() -> None:
    assert draw(grey(2000, 2000), (10, 10, 10.2, 10.2), (1999.5, 1999.5, 2000, 2000)).any()


def test_neighbouring_classes_have_clearly_different_colours() -> None:
    colours = np.array([class_colour(i) for i in range(12)], int)
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=2) + np.eye(12, dtype=int) * 1000
    assert distances.min() > 60


def test_every_class_has_a_colour_and_a_text_that_can_be_read_on_it() -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for class_id in (*range(200), 10**6, 2**31 - 2):
        background = class_colour(class_id)
        assert all(0 <= c <= 255 for c in background)
        light, dark = sorted((luminance(background), luminance(text_colour(background))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, class_id  # WCAG AA


def test_a_name_beyond_ascii_is_written_or_replaced_but_never_as_empty_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    font, text = drawing._writable("автомобіль 0.90", "class_0 0.90", 20)
    assert text in ("автомобіль 0.90", "class_0 0.90")
    monkeypatch.setattr(drawing, "_system_font", lambda size: None)  # as in a slim container without fonts
    font, text = drawing._writable("автомобіль 0.90", "class_0 0.90", 20)
    assert text == "class_0 0.90"
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in text if letter != " ")


def test_letters_that_no_font_has_are_replaced_and_line_breaks_become_spaces() -> None:
    assert drawing._writable("\U0001f69a\ue000 0.9", "class_0 0.9", 20)[1] == "class_0 0.9"
    assert drawing._writable("big\ntruck 0.9", "", 20)[1] == "big truck 0.9"


def test_an_oriented_box_is_outlined_along_its_own_sides() -> None:
    corners = np.array([[[200, 100], [300, 200], [200, 300], [100, 200]]], np.float32)
    boxes = np.array([[100, 100, 300, 300]], np.float32)
    drawn = draw_boxes(grey(400, 400), boxes, np.array([2]), ["car 0.90"], ["class_2 0.90"], corners)
    for x, y in ((200, 100), (250, 150), (300, 200), (250, 250), (200, 300), (150, 250), (100, 200), (150, 150)):
        assert drawn[y, x].tolist() == list(class_colour(2))
    assert (drawn[160:240, 160:240] == 128).all()
    for x, y in ((100, 100), (300, 300), (100, 300), (110, 290)):  # corners of the upright box, without a line
        assert drawn[y, x].tolist() == [128, 128, 128]


def test_an_oriented_box_beyond_the_picture_keeps_its_label_inside() -> None:
    corners = np.array([[[-60, -40], [100, -40], [100, 90], [-60, 90]]], np.float32)
    boxes = np.array([[0, 0, 100, 90]], np.float32)
    drawn = draw_boxes(grey(400, 400), boxes, np.array([0]), ["car 0.90"], ["class_0 0.90"], corners)
    assert drawn[2, 2].tolist() == list(class_colour(0))
