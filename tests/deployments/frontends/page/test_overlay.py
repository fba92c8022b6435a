"""The page's boxes over the picture, in Chromium, without a service: each lies where it was found, turned or not."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, Route
from rasterio.warp import transform

from azaion_engine.files.polygons import polygon
from azaion_engine.pictures.letterbox import Letterbox
from azaion_engine.results.detections import Detections
from deployments.frontends import page as page_package
from tests.deployments.frontends.page.browser import open_chromium

STATIC = Path(page_package.__file__).parent / "static"
WIDTH, HEIGHT = 400, 300
UTM_SCALE = 1.00086
"""Of the grid to the ground, three degrees from the central meridian at 17° south: 0.9996 (1 + (Δλ cos φ)² / 2)."""
BARE = (
    '<link rel="stylesheet" href="page.css">'
    f'<div style="position: absolute; left: 0; top: 0; width: {WIDTH}px; height: {HEIGHT}px">'
    '<div id="overlay"></div></div>'
)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    def answer(route: Route) -> None:
        name = urlsplit(route.request.url).path.removeprefix("/")
        text = (STATIC / name).read_text() if name else BARE
        route.fulfill(body=text, content_type=mimetypes.guess_type(name)[0] or "text/html")

    with open_chromium() as browser:
        page = browser.new_page(viewport={"width": 800, "height": 600})
        page.route("http://page.test/**", answer)
        page.goto("http://page.test/")
        yield page


def show(page: Page, found: Detections) -> None:
    page.evaluate(
        """async ([boxes, size]) => {
            const { Overlay } = await import("/stage/overlay.js");
            const overlay = new Overlay(document.getElementById("overlay"), () => {});
            overlay.show(boxes, size);
            overlay.filter(new Set(boxes.keys()));
        }""",
        [found.to_dicts(), {"width": found.picture_width, "height": found.picture_height}],
    )


def area(ring: np.ndarray) -> float:
    """Returns the area of a closed ring `[n, 2]`."""
    return abs(float(np.sum(ring[:-1, 0] * ring[1:, 1] - ring[1:, 0] * ring[:-1, 1]))) / 2


def box_at(page: Page, x: float, y: float) -> bool:
    return bool(page.evaluate("([x, y]) => document.elementFromPoint(x, y)?.className === 'box'", [x, y]))


@pytest.mark.parametrize("angle", [0.0, 0.5, -0.7, 1.9])
def test_an_oriented_box_lies_turned_where_it_was_found(page: Page, angle: float) -> None:
    scale = 2  # the picture is shown at half its size
    rows = np.array([[400, 300, 240, 80, 0.9, 0, angle]], np.float32)
    found = Detections.from_rows(rows, Letterbox.fit(800, 600, 600, 800), {0: "ship"})
    show(page, found)
    frame = page.locator(".box").bounding_box()
    assert frame is not None
    upright = [frame["x"], frame["y"], frame["x"] + frame["width"], frame["y"] + frame["height"]]
    np.testing.assert_allclose(upright, found.boxes[0] / scale, atol=0.5)
    assert found.corners is not None
    corners = found.corners[0] / scale
    centre = corners.mean(axis=0)
    assert all(box_at(page, *(centre + 0.9 * (corner - centre)).tolist()) for corner in corners)
    if angle:  # the corners of the upright box are no part of it
        x1, y1, x2, y2 = upright
        assert not any(box_at(page, x, y) for x, y in ((x1 + 3, y1 + 3), (x2 - 3, y2 - 3), (x1 + 3, y2 - 3)))


def test_an_upright_box_stays_as_it_was(page: Page) -> None:
    rows = np.array([[40, 60, 240, 180, 0.9, 0]], np.float32)
    found = Detections.from_rows(rows, Letterbox.fit(WIDTH, HEIGHT, HEIGHT, WIDTH), {0: "ship"})
    show(page, found)
    assert page.locator(".box").bounding_box() == {"x": 40, "y": 60, "width": 200, "height": 120}
    assert page.evaluate("getComputedStyle(document.querySelector('.box')).transform") == "none"


def test_visible_keypoints_lie_where_they_were_found_and_are_hidden_with_their_box(page: Page) -> None:
    points = [50, 70, 0.9, 200, 150, 0.2, 230, 170, 0.5]
    rows = np.array([[40, 60, 240, 180, 0.9, 0, *points]], np.float32)
    show(page, Detections.from_rows(rows, Letterbox.fit(WIDTH, HEIGHT, HEIGHT, WIDTH), {0: "person"}))
    shown = page.locator(".keypoint")
    places = [shown.nth(number).bounding_box() for number in range(shown.count())]
    centres = [(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2) for place in places if place]
    np.testing.assert_allclose(centres, [(50, 70), (230, 170)], atol=0.6)
    assert box_at(page, 50, 70), "a pointer reaches the box below"
    page.evaluate(
        """async () => {
            const { Overlay } = await import("/stage/overlay.js");
            const overlay = new Overlay(document.getElementById("overlay"), () => {});
            overlay.show([{ x1: 1, y1: 1, x2: 9, y2: 9, confidence: 1, class_id: 0, class_name: "a",
                            keypoints: [[5, 5, 1]] }], { width: 400, height: 300 });
            overlay.filter(new Set());
        }"""
    )
    assert page.locator(".keypoint").count() == 1
    assert not page.locator(".keypoint").is_visible()


def test_metres_on_the_earth_are_those_of_proj_on_both_sides_of_the_antimeridian(page: Page) -> None:
    # 400 by 300 metres in UTM zone 60 south, near Fiji, cut at 180° as RFC 7946 demands.
    x, y = transform("EPSG:4326", "EPSG:32760", [179.999], [-17.0])
    corners = [(x[0], y[0]), (x[0] + 400, y[0]), (x[0] + 400, y[0] - 300), (x[0], y[0] - 300)]
    longitudes, latitudes = transform("EPSG:32760", "EPSG:4326", *zip(*corners, strict=True))
    geometry = polygon(np.column_stack([longitudes, latitudes]))
    assert geometry is not None
    assert geometry["type"] == "MultiPolygon"
    rings, width, height, where = page.evaluate(
        """async (geometry) => {
            const { MapGround } = await import("/stage/map.js");
            const ground = new MapGround([geometry]);
            return [ground.rings(geometry), ground.bounds.width, ground.bounds.height, ground.where(150, 0)];
        }""",
        geometry,
    )
    points = np.concatenate([np.array(ring) for ring in rings])
    assert np.ptp(points, axis=0) == pytest.approx([400, 300], rel=0.02)  # the grid of UTM is turned by half a degree
    assert (width, height) == pytest.approx((1.1 * np.ptp(points[:, 0]), 1.1 * np.ptp(points[:, 1])))
    assert sum(area(np.array(ring)) for ring in rings) == pytest.approx(400 * 300 / UTM_SCALE**2, rel=1e-4)
    assert where.endswith("° W")
    assert where.startswith("17.001")


def test_the_smallest_visible_shape_under_a_point_is_found(page: Page) -> None:
    square = [[0, 0], [60, 0], [60, 60], [0, 60]]
    diamond = [[30, 10], [50, 30], [30, 50], [10, 30]]
    found = page.evaluate(
        """async (rings) => {
            const { Shapes } = await import("/stage/shapes.js");
            const shapes = rings.map((ring, index) => ({ index, rings: [ring], classId: 0, text: "" }));
            const all = new Shapes(shapes, { x: 0, y: 0, width: 1000, height: 1000 });
            const at = (x, y) => all.at([x, y], 0.1)?.index ?? null;
            const none = at(30, 30);
            all.visible = new Set([0, 1]);
            const both = [at(30, 30), at(12, 12), at(300, 300)];
            all.visible = new Set([0]);
            return [none, ...both, at(30, 30)];
        }""",
        [square, diamond],
    )
    assert found == [None, 1, 0, None, 0]
