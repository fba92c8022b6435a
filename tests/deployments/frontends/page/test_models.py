"""The page of a service with several models, in Chromium, without a service: what it shows is of the chosen one."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from azaion_engine.model.file import sample_picture
from tests.deployments.frontends.page.browser import open_chromium
from tests.deployments.frontends.page.test_tiles import CARD, STATIC

MODELS = ("cars", "ships", "kites")


class Models:
    """What the models answer.

    Attributes:
        late: What is not answered yet: `ships/model`, `cars/detect`.
        kept: The requests for it.
    """

    def __init__(self) -> None:
        self.late: set[str] = set()
        self.kept: list[tuple[Route, str]] = []

    def take(self, route: Route) -> None:
        path = urlsplit(route.request.url).path.lstrip("/")
        if path == "models":
            route.fulfill(json={"models": [{"name": each, "state": "serving", "replicas": 1} for each in MODELS]})
        elif path.startswith("models/"):
            asked = path.removeprefix("models/")
            if asked in self.late:
                self.kept.append((route, asked))
            else:
                self.answer(route, asked)
        elif "samples" in path:
            route.fulfill(body=sample_picture(), content_type="image/jpeg")
        else:
            file = STATIC / (path.removeprefix("page/") or "index.html")
            body = file.read_bytes().replace(b"<body>", b"<body data-models>")
            route.fulfill(body=body, content_type=mimetypes.guess_type(file.name)[0] or "text/html")

    @staticmethod
    def answer(route: Route, asked: str) -> None:
        model, _, what = asked.partition("/")
        box = {"x1": 1, "y1": 1, "x2": 90, "y2": 90, "confidence": 0.9, "class_id": 0, "class_name": f"one of {model}"}
        times = {"decode": 1.0, "queue": 1.0, "engine": 1.0, "total": 3.0}
        found = {"picture": {"width": 640, "height": 480}, "boxes": [box], "timing_ms": times}
        route.fulfill(json={**CARD, "name": model} if what == "model" else found)

    def answer_late(self) -> None:
        self.late.clear()
        while self.kept:
            self.answer(*self.kept.pop())


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def page(models: Models) -> Iterator[Page]:
    with open_chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.route("http://page.test/**", models.take)
        page.goto("http://page.test/")
        expect(page.locator("#served")).to_have_text("cars on stand-in")
        yield page


def test_a_picture_that_another_model_is_asked_about_is_asked_of_the_chosen_one(page: Page, models: Models) -> None:
    models.late.add("cars/detect")
    with page.expect_request("**/cars/detect*"):
        page.click('[data-sample="sample_1.jpg"]')
    page.locator("#models").select_option("ships")
    expect(page.locator("#served")).to_have_text("ships on stand-in")
    models.answer_late()
    expect(page.locator("#rows")).to_contain_text("one of ships")
    expect(page.locator("#curl")).to_contain_text("/models/ships/detect")


def test_the_card_of_a_model_that_is_no_longer_chosen_is_not_shown(page: Page, models: Models) -> None:
    models.late.add("ships/model")
    page.locator("#models").select_option("ships")
    page.locator("#models").select_option("kites")
    expect(page.locator("#served")).to_have_text("kites on stand-in")
    with page.expect_response("**/ships/model"):
        models.answer_late()
    page.click('[data-sample="sample_1.jpg"]')
    expect(page.locator("#rows")).to_contain_text("one of kites")
    assert page.locator("#served").inner_text() == "kites on stand-in"


def test_no_card_of_another_model_is_shown_beside_one_that_cannot_be_loaded(page: Page, models: Models) -> None:
    error = {"code": "model_unavailable", "message": "the model 'ships' is being loaded"}
    page.route("**/ships/model", lambda route: route.fulfill(status=503, json={"error": error}))
    page.locator("#models").select_option("ships")
    expect(page.locator("#served")).to_have_text("The model 'ships' is being loaded.")
    assert page.locator("#card").inner_text() == ""
