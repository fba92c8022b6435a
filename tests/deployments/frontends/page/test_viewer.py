"""The page with a picture of 10,000 pixels and with a GeoTIFF, in Chromium, before a service in this process."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from rasterio.warp import transform

from azaion_engine.detector import Detector
from tests.azaion_engine.models import make_detector
from tests.azaion_engine.scenes.files import UTM33, noise, write_tiff
from tests.deployments.frontends.page.browser import Visit, open_chromium
from tests.deployments.frontends.page.served import served

WIDTH, HEIGHT = 10_000, 7_600
FINE_X, FINE_Y = 7_040, 5_040
"""Where the large picture has lines of a pixel."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    path.write_bytes(make_detector())
    with served(lambda _: Detector.open(model=str(path), engine="onnx"), decode_threads=1) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser, url: str) -> Iterator[Visit]:
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, has_touch=True)
    context.set_default_timeout(60_000)
    visit = Visit(context.new_page(), url)
    yield visit
    assert visit.complaints == []
    context.close()


def large_picture() -> bytes:
    """Encodes a grey JPEG that rises from left to right, with upright lines of one pixel in a square."""
    row = np.linspace(40, 200, WIDTH).astype(np.uint8)
    picture = np.tile(row, (HEIGHT, 1))
    picture[FINE_Y - 40 : FINE_Y + 40, FINE_X - 40 : FINE_X + 40 : 2] = 0
    picture[FINE_Y - 40 : FINE_Y + 40, FINE_X - 39 : FINE_X + 40 : 2] = 255
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


class Canvas:
    """The viewer's canvas as a user sees it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.element = page.locator("#canvas")
        expect(self.element).to_be_visible()
        box = self.element.bounding_box()
        assert box is not None
        self.left, self.top, self.width, self.height = (box[name] for name in ("x", "y", "width", "height"))

    def pixels(self) -> np.ndarray:
        """Returns `[height, width, 3]`, without the buttons over it; a pixel is a CSS pixel here."""
        self.page.evaluate("new Promise(requestAnimationFrame)")  # what was asked for is drawn then
        url = self.element.evaluate("(canvas) => canvas.toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")).astype(int)

    def point(self, x: float, y: float) -> list[float]:
        """Moves the mouse over the canvas; returns the numbers of the readout."""
        self.page.mouse.move(self.left + x, self.top + y)
        return [float(number) for number in re.findall(r"[\d.]+", self.page.locator("#where").inner_text())]

    def scale(self) -> float:
        """CSS pixels of a pixel of the picture, between two places of the middle line."""
        return 200 / (self.point(500, 300)[0] - self.point(300, 300)[0])

    def pinch(self, factor: float) -> None:
        """Moves two fingers apart, around 400, 300."""
        touch = self.page.context.new_cdp_session(self.page)
        for kind, apart in (("touchStart", 50.0), ("touchMove", 25 + 25 * factor), ("touchMove", 50 * factor)):
            fingers = [{"x": self.left + 400 + sign * apart, "y": self.top + 300, "id": sign + 1} for sign in (-1, 1)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    def place_of(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the large picture is while the whole is in sight."""
        scale = 0.98 * min(self.width / WIDTH, self.height / HEIGHT)
        return self.width / 2 + (x - WIDTH / 2) * scale, self.height / 2 + (y - HEIGHT / 2) * scale


def test_a_picture_of_10_000_pixels_is_seen_whole_and_pixel_by_pixel(visit: Visit, url: str) -> None:
    page = visit.page
    picture = large_picture()
    visit.choose("scene.jpg", picture)
    expect(page.locator("#caption")).to_contain_text(f"scene.jpg · {WIDTH} × {HEIGHT}")
    canvas = Canvas(page)
    visit.slide_to(1)
    expect(page.locator("#caption")).to_contain_text("0 of ")
    whole = canvas.pixels()
    for x in (1000, 5000, 9000):
        across, down = canvas.place_of(x, 3000)
        assert whole[round(down), round(across)] == pytest.approx([40 + 160 * x / WIDTH] * 3, abs=4)
        assert canvas.point(across, down) == pytest.approx([x, 3000], abs=20)

    # The wheel keeps the place under the pointer; there the lines of a pixel come out, which no overview has.
    across, down = canvas.place_of(FINE_X, FINE_Y)
    scale = canvas.scale()
    canvas.point(across, down)
    page.mouse.wheel(0, math.log(scale) / 0.002)
    page.wait_for_function("document.getElementById('canvas').style.touchAction === 'none'")  # no more whole
    assert canvas.scale() == pytest.approx(1, rel=0.02)
    assert canvas.point(across, down) == pytest.approx([FINE_X, FINE_Y], abs=15)
    patch = np.s_[round(down) - 10 : round(down) + 10, round(across) - 10 : round(across) + 10]
    for _ in range(100):
        if canvas.pixels()[patch].std() > 60:
            break
        page.wait_for_timeout(100)
    assert canvas.pixels()[patch].std() > 60

    # Drag, keys, buttons and pinch.
    before = canvas.point(400, 300)
    page.mouse.down()
    page.mouse.move(canvas.left + 300, canvas.top + 250, steps=4)
    page.mouse.up()
    assert canvas.point(400, 300) == pytest.approx([before[0] + 100, before[1] + 50], abs=3)
    canvas.element.press("ArrowLeft")
    assert canvas.point(400, 300)[0] < before[0]
    page.get_by_role("button", name="Zoom out").click()
    assert canvas.scale() == pytest.approx(1 / 1.5, rel=0.02)
    page.locator("#natural").click()
    assert canvas.scale() == pytest.approx(1, rel=0.02)
    canvas.pinch(2)
    assert canvas.scale() == pytest.approx(2, rel=0.05)
    page.get_by_role("button", name="Whole").click()
    least = canvas.scale()
    canvas.pinch(2)
    assert canvas.scale() == pytest.approx(2 * least, rel=0.05)
    canvas.element.press("0")
    assert canvas.scale() == pytest.approx(least, rel=0.02)

    # Boxes lie where they were found, and are told when they are pointed at.
    bare = canvas.pixels()
    visit.slide_to(0.05)
    boxes = httpx.post(f"{url}detect?confidence=0.05", content=picture, timeout=60).json()["boxes"]
    drawn = np.argwhere(np.abs(canvas.pixels() - bare).sum(axis=2) > 60)[:, ::-1]
    upper = canvas.place_of(min(box["x1"] for box in boxes), min(box["y1"] for box in boxes))
    lower = canvas.place_of(max(box["x2"] for box in boxes), max(box["y2"] for box in boxes))
    assert drawn.min(axis=0) == pytest.approx(np.array(upper), abs=5)
    assert drawn.max(axis=0) == pytest.approx(np.array(lower), abs=5)
    least = min(boxes, key=lambda box: max(box["x2"] - box["x1"], box["y2"] - box["y1"]))
    canvas.point(*canvas.place_of((least["x1"] + least["x2"]) / 2, (least["y1"] + least["y2"]) / 2))
    x1, y1, x2, y2 = (f"{least[name]:g}" for name in ("x1", "y1", "x2", "y2"))  # as JavaScript writes numbers
    expect(page.locator("#detail")).to_contain_text(f"x {x1}–{x2}, y {y1}–{y2}")


def test_boxes_of_a_geotiff_lie_on_the_earth_and_are_downloaded(visit: Visit, url: str, tmp_path: Path) -> None:
    page = visit.page
    tiff = write_tiff(tmp_path / "a.tif", noise(height=64, width=64), crs="EPSG:32633", transform=UTM33).read_bytes()
    visit.choose("a.tif", tiff)
    page.get_by_role("button", name="On the earth").click()
    canvas = Canvas(page)
    visit.slide_to(0.05)
    boxes = httpx.post(f"{url}detect?confidence=0.05", content=tiff, timeout=60).json()["boxes"]
    points = np.concatenate([box["geometry"]["coordinates"][0] for box in boxes])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    assert canvas.point(canvas.width / 2, canvas.height / 2) == pytest.approx(middle[::-1], abs=2e-6)

    # The scale bar has a round length on the ground, by PROJ.
    ink = np.array(page.evaluate("getComputedStyle(canvas).color.match(/\\d+/g).map(Number)"))
    bar = np.flatnonzero(np.abs(canvas.pixels()[round(canvas.height) - 15] - ink).sum(axis=1) < 30)
    ends = [canvas.point(end, canvas.height - 14)[::-1] for end in (float(bar[0]), float(bar[-1]))]
    xs, ys = transform("EPSG:4326", "EPSG:32633", *zip(*ends, strict=True))
    metres = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
    assert min(abs(metres / (n * 10.0**power) - 1) for n in (1, 2, 5) for power in range(-2, 3)) < 0.06

    with page.expect_download() as coming:
        page.get_by_role("button", name="Download GeoJSON").click()
    assert coming.value.suggested_filename == "a.geojson"
    features = json.loads(Path(coming.value.path()).read_text())["features"]
    assert [feature["geometry"] for feature in features] == [box["geometry"] for box in boxes]
    assert features[0]["properties"]["box"] == [boxes[0][name] for name in ("x1", "y1", "x2", "y2")]
    page.get_by_role("button", name="On the earth").click()
    expect(page.locator("#frame")).to_be_visible()
    page.get_by_role("button", name="Sample 1").click()
    expect(page.get_by_role("button", name="Download GeoJSON")).to_be_hidden()
