"""The page asks for large pictures in tiles, in Chromium, without a service; thousands of boxes stay usable."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from azaion_engine.model.file import sample_picture
from deployments.frontends import page as page_package
from tests.deployments.frontends.page.browser import open_chromium

STATIC = Path(page_package.__file__).parent / "static"
CARD = {
    "name": "demo",
    "sha256": None,
    "engine": "stand-in",
    "head": {"name": "end_to_end", "recognised_as": "rows", "pictures": "RGB", "notes": []},
    "input": {"height": 640, "width": 640},
    "batch_size": 1,
    "classes": {"0": "car"},
    "confidence": 0.25,
    "limits": {"max_picture_bytes": 10**8, "max_picture_pixels": 10**8, "max_pictures": 32, "timeout_s": 30},
}
MANY = 4000


def answer_of(boxes: int) -> str:
    """An answer for a picture of 10,000 × 7,600 pixels with boxes of 20 pixels."""
    corners = np.random.default_rng(1).integers(0, 7500, (boxes, 2)).tolist()
    found = [
        {"x1": x, "y1": y, "x2": x + 20, "y2": y + 20, "confidence": 0.9, "class_id": 0, "class_name": "car"}
        for x, y in corners
    ]
    times = {"decode": 1.0, "queue": 1.0, "engine": 1.0, "total": 3.0}
    return json.dumps({"picture": {"width": 10_000, "height": 7_600}, "boxes": found, "timing_ms": times})


@pytest.fixture
def asked() -> list[dict[str, list[str]]]:
    """Queries of the requests for boxes."""
    return []


@pytest.fixture
def page(asked: list[dict[str, list[str]]]) -> Iterator[Page]:
    def answer(route: Route) -> None:
        address = urlsplit(route.request.url)
        name = address.path.rsplit("/", 1)[1]
        if name == "model":
            route.fulfill(json=CARD)
        elif name == "detect":
            query = parse_qs(address.query)
            if query.get("format") == ["image"]:
                route.fulfill(body=sample_picture(), content_type="image/jpeg")
                return
            asked.append(query)
            route.fulfill(body=answer_of(MANY if "tiles" in query else 3), content_type="application/json")
        elif "samples" in address.path:
            route.fulfill(body=sample_picture(), content_type="image/jpeg")
        else:
            path = STATIC / (address.path.removeprefix("/").removeprefix("page/") or "index.html")
            route.fulfill(body=path.read_bytes(), content_type=mimetypes.guess_type(path.name)[0] or "text/html")

    with open_chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.route("http://page.test/**", answer)
        page.goto("http://page.test/")
        yield page


def test_the_box_asks_again_in_tiles_and_the_command_says_so(page: Page, asked: list[dict[str, list[str]]]) -> None:
    page.click('[data-sample="sample_1.jpg"]')
    expect(page.locator("#caption")).to_contain_text("3 of 3 boxes")
    assert "tiles" not in asked[0]
    assert "tiles" not in page.inner_text("#curl")
    page.check("#tiles")
    expect(page.locator("#caption")).to_contain_text(f"{MANY} of {MANY} boxes")
    assert asked[1]["tiles"] == ["auto"]
    page.wait_for_function("document.getElementById('curl').textContent.includes('tiles=auto')")
    page.uncheck("#tiles")
    expect(page.locator("#caption")).to_contain_text("3 of 3 boxes")
    assert "tiles" not in asked[2]


def test_thousands_of_boxes_are_filtered_without_a_stop(page: Page) -> None:
    page.check("#tiles")
    page.click('[data-sample="sample_1.jpg"]')
    expect(page.locator("#caption")).to_contain_text(f"{MANY} of {MANY} boxes")
    expect(page.locator("#listed")).to_contain_text(f"of {MANY} are listed")
    milliseconds = page.evaluate(
        """() => {
            const slider = document.getElementById("confidence");
            const begun = performance.now();
            slider.value = 0.95;
            slider.dispatchEvent(new Event("input"));
            document.body.offsetWidth;
            return performance.now() - begun;
        }"""
    )
    assert milliseconds < 10_000  # on a machine that is busy with other tests
    expect(page.locator("#caption")).to_contain_text(f"0 of {MANY} boxes")
    expect(page.locator("#listed")).to_have_text("")
