"""Routes of the page at `/`: its files over HTTP, and its use in a real Chromium."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, Route, expect

from azaion_engine.detector import Detector
from azaion_engine.model.file import SAMPLES, sample_picture
from azaion_engine.results.drawing import class_colour
from tests.deployments.frontends.page.browser import Visit, open_chromium

MAX_BYTES = 1_000_000
FILES = {
    "": "text/html; charset=utf-8",
    "page/page.css": "text/css; charset=utf-8",
    "page/page.js": "text/javascript; charset=utf-8",
    "page/stage/stage.js": "text/javascript; charset=utf-8",
    "page/icon.svg": "image/svg+xml",
    "samples/sample_1.jpg": "image/jpeg",
    "samples/sample_2.jpg": "image/jpeg",
}


@pytest.fixture(scope="module")
def url(running_serve) -> str:
    """Address of the demo model under a route prefix; ends with a slash, as in a browser."""
    return running_serve.deploy(Detector.open, engine="onnx", max_picture_bytes=MAX_BYTES).url + "/"


def boxes_of(url: str, picture: bytes, **parameters: Any) -> list[dict[str, Any]]:
    return httpx.post(f"{url}detect", params=parameters, content=picture, timeout=60).json()["boxes"]


# --- over HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
def test_every_file_has_its_type_and_the_headers_that_keep_the_page_to_itself(url, path):
    response = httpx.get(url + path)
    assert response.status_code == 200
    assert response.headers["content-type"] == FILES[path]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-cache"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("path", ["", "page/page.js", "samples/sample_1.jpg"])
def test_a_file_that_the_browser_has_is_not_sent_again(url, path):
    first = httpx.get(url + path)
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}'):
        again = httpx.get(url + path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert httpx.get(url + path, headers={"If-None-Match": '"other"'}).content == first.content
    assert httpx.head(url + path).headers["content-length"] == str(len(first.content))


def test_the_prefix_without_a_slash_leads_to_the_page(url):
    response = httpx.get(url.rstrip("/"), follow_redirects=True)
    assert str(response.url) == url
    assert "<title>azaion-engine</title>" in response.text


@pytest.mark.parametrize(
    "path",
    ["page/nothing.js", "page/..%2fweb_page.py", "page/%2e%2e/app.py", "samples/demo.onnx", "samples/..%2fpy.typed"],
)
def test_nothing_but_the_page_and_the_samples_is_given_away(url, path):
    response = httpx.get(url + path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


def test_the_samples_are_those_of_the_library(url):
    for name in SAMPLES:
        assert httpx.get(f"{url}samples/{name}").content == sample_picture(name)


def test_the_page_is_no_part_of_the_documented_interface(url):
    paths = httpx.get(f"{url}openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith(("/page", "/samples"))]


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium(url) -> Iterator[Browser]:
    # `url` comes first: Serve's calls refuse to run inside an event loop, and Playwright runs one in this thread.
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def visit(chromium, url, request) -> Iterator[Visit]:
    """A fresh page, with context options from `request.param`; fails on complaints and on requests to other servers."""
    context = chromium.new_context(**{"viewport": {"width": 1360, "height": 900}, **getattr(request, "param", {})})
    context.set_default_timeout(30_000)
    visit = Visit(context.new_page(), url)
    yield visit
    elsewhere = [asked for asked in visit.requests if not asked.split()[1].startswith((url, "blob:"))]
    context.close()
    assert elsewhere == []
    assert visit.complaints == []


def test_a_sample_shows_its_boxes_where_the_service_found_them(visit, url):
    visit.page.get_by_role("button", name="Sample 1").click()
    found = boxes_of(url, sample_picture(), confidence=0.25)
    expect(visit.visible_boxes()).to_have_count(len(found))
    expect(visit.page.locator("#rows tr:not([hidden])")).to_have_count(len(found))
    expect(visit.page.locator("#status")).to_contain_text(f"{len(found)} of ")
    drawn = visit.page.evaluate(
        """() => {
            const picture = document.getElementById("picture").getBoundingClientRect();
            const box = document.querySelector('.box[data-index="0"]');
            const { left, top, width, height } = box.getBoundingClientRect();
            const scale = 1600 / picture.width;
            return { at: [left - picture.left, top - picture.top, width, height].map((v) => v * scale),
                     colour: getComputedStyle(box).outlineColor };
        }"""
    )
    first = found[0]
    assert drawn["at"] == pytest.approx(
        [first["x1"], first["y1"], first["x2"] - first["x1"], first["y2"] - first["y1"]], abs=1
    )
    assert drawn["colour"] == f"rgb{class_colour(first['class_id'])}"
    label = visit.page.locator(".label").first
    assert label.inner_text() == f"{first['class_name']} {first['confidence']:.2f}"
    assert label.bounding_box()["height"] >= 12
    expect(visit.page.locator("#stages")).to_contain_text("engine")
    assert visit.asked() == [f"POST {url}detect?confidence=0.05"]


def test_slider_and_classes_filter_at_once_without_asking_again(visit, url):
    visit.page.get_by_role("button", name="Sample 2").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    before = list(visit.requests)
    picture = sample_picture(SAMPLES[1])
    for confidence in (0.8, 0.05, 0.6):
        visit.slide_to(confidence)
        # Without `expect`: the event's handler has updated the boxes when it returns.
        assert visit.visible_boxes().count() == len(boxes_of(url, picture, confidence=confidence))
    visit.page.get_by_label("person").uncheck()
    wanted = boxes_of(url, picture, confidence=0.6, classes="car,truck,building")
    assert visit.visible_boxes().count() == len(wanted)
    assert visit.page.locator("#rows tr:not([hidden])").count() == len(wanted)
    assert visit.requests == before


def test_several_dropped_pictures_go_to_the_strip_and_the_first_is_shown(visit):
    one, two = map(sample_picture, SAMPLES)
    visit.hand_over("drop", ("one.jpg", one), ("two.jpg", two))
    expect(visit.page.locator("#caption")).to_contain_text("one.jpg · 1600 × 1216")
    expect(visit.page.locator("#strip [data-state=done]")).to_have_count(2)
    visit.page.get_by_role("button", name="two.jpg").click()
    expect(visit.page.locator("#caption")).to_contain_text("two.jpg · 1280 × 960")
    assert len(visit.asked()) == 2


def test_a_pasted_picture_is_looked_at(visit):
    visit.hand_over("paste", ("image.png", sample_picture()))
    expect(visit.page.locator("#caption")).to_contain_text("image.png")
    expect(visit.page.locator("#curl")).to_contain_text("# the pasted picture, saved as image.png")
    visit.hand_over("drop")
    expect(visit.page.locator("#notice")).to_have_text("That was no picture file.")


def test_the_keyboard_alone_is_enough(visit):
    def tab_to(selector: str) -> None:
        for _ in range(40):
            visit.page.keyboard.press("Tab")
            if visit.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"the tab key does not reach {selector}")

    tab_to("#files")
    tab_to("[data-sample='sample_1.jpg']")
    visit.page.keyboard.press("Enter")
    expect(visit.visible_boxes()).not_to_have_count(0)
    tab_to("#confidence")
    before = visit.visible_boxes().count()
    for _ in range(50):
        visit.page.keyboard.press("ArrowRight")
    expect(visit.page.locator("#confidence-value")).to_have_text("0.75")
    assert 0 < visit.visible_boxes().count() < before
    tab_to("#classes input")
    visit.page.keyboard.press("Space")
    assert not visit.page.get_by_label("car").is_checked()
    tab_to("#rows button")
    expect(visit.page.locator(".box.chosen")).to_have_attribute("data-index", "0")
    visit.page.keyboard.press("ArrowDown")
    expect(visit.page.locator(".box.chosen")).to_have_attribute("data-index", "1")
    expect(visit.page.locator("#detail")).to_contain_text("building 0.9")
    tab_to("#copy")


def test_a_box_that_is_pointed_at_is_brought_out_and_found_in_the_table(visit):
    visit.page.get_by_role("button", name="Sample 1").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    last = visit.visible_boxes().last  # a small one, far down in the table
    last.click()
    index = last.get_attribute("data-index")
    expect(visit.page.locator(".box.chosen")).to_have_attribute("data-index", index)
    expect(visit.page.locator(".label.chosen")).to_be_visible()
    row = visit.page.locator(f"#rows tr[data-index='{index}'] button")
    expect(row).to_be_focused()
    expect(row).to_be_in_viewport()


@pytest.mark.parametrize(
    "visit",
    [
        {"viewport": {"width": width, "height": 740}, "is_mobile": True, "has_touch": True, "color_scheme": scheme}
        for width, scheme in ((390, "light"), (360, "dark"))
    ],
    ids=["390-light", "360-dark"],
    indirect=True,
)
def test_a_phone_shows_everything_without_scrolling_sideways(visit):
    widths = "[document.documentElement.scrollWidth, innerWidth]"
    overflow, width = visit.page.evaluate(widths)
    assert overflow == width
    expect(visit.page.get_by_text("Take a photo")).to_be_visible()
    visit.page.get_by_role("button", name="Sample 1").tap()
    expect(visit.visible_boxes()).not_to_have_count(0)
    assert visit.page.evaluate(widths) == [width, width]
    visit.page.get_by_role("button", name="Actual size").tap()
    assert visit.page.evaluate(widths) == [width, width]
    assert visit.page.locator("#picture").bounding_box()["width"] == 1600


def test_dark_and_light_follow_the_system(visit):
    grounds = []
    for scheme in ("light", "dark"):
        visit.page.emulate_media(color_scheme=scheme)
        grounds.append(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, re.findall(r"\d+", ground))) for ground in grounds)
    assert light > 3 * 200
    assert dark < 3 * 60


def turned(kind: str) -> bytes:
    """Encodes a sample: upright as a TIFF, which no browser shows, or on its side as a JPEG with EXIF orientation 6."""
    image = Image.open(io.BytesIO(sample_picture(SAMPLES[1])))
    exif = Image.Exif()
    if kind == "JPEG":
        exif[0x0112] = 6
    file = io.BytesIO()
    image.resize((640, 480)).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "size", "requests"), [("JPEG", (480, 640), 1), ("TIFF", (640, 480), 2)])
def test_the_picture_lies_under_its_boxes_as_the_service_saw_it(visit, kind, size, requests):
    visit.choose(f"turned.{kind.lower()}", turned(kind))
    expect(visit.page.locator("#caption")).to_contain_text(f"{size[0]} × {size[1]}")
    natural = "(image) => image.complete && [image.naturalWidth, image.naturalHeight]"
    assert visit.page.locator("#picture").evaluate(natural) == list(size)
    assert visit.visible_boxes().count() > 10
    # For a TIFF, which a browser cannot show, the page asks the service for the pixels.
    assert len(visit.asked()) == requests


def run_command(command: str, folder: Path) -> bytes:
    return subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, check=True, timeout=60).stdout


def test_the_command_asks_the_same_and_gets_the_same_boxes(visit, url, tmp_path):
    visit.page.get_by_role("button", name="Sample 1").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    visit.slide_to(0.8)
    visit.page.get_by_label("person").uncheck()
    command = visit.page.locator("#curl").inner_text()
    assert f"curl --data-binary @sample_1.jpg '{url}detect?confidence=0.80&classes=car,truck,building'" in command
    boxes = json.loads(run_command(command, tmp_path))["boxes"]
    shown = visit.page.locator("#rows tr:not([hidden])").all_inner_texts()
    assert len(boxes) > 10
    assert [row.split()[:2] for row in shown] == [[b["class_name"], f"{b['confidence']:.2f}"] for b in boxes]

    visit.page.get_by_label("answer the picture").check()
    run_command(visit.page.locator("#curl").inner_text(), tmp_path)
    assert Image.open(tmp_path / "sample_1_boxes.jpg").size == (1600, 1216)


def test_the_command_survives_any_file_name_and_can_be_copied(visit, tmp_path):
    name = 'it\'s $(a) "picture".jpg'
    (tmp_path / name).write_bytes(sample_picture())
    visit.choose(name, sample_picture())
    expect(visit.visible_boxes()).not_to_have_count(0)
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.page.get_by_role("button", name="Copy").click()
    expect(visit.page.locator("#copied")).to_have_text("Copied.")
    command = visit.page.evaluate("navigator.clipboard.readText()")
    assert len(json.loads(run_command(command, tmp_path))["boxes"]) == visit.visible_boxes().count()


def test_an_error_of_the_service_is_told_in_its_words_with_its_code(visit):
    visit.choose("notes.txt", b"no picture at all")
    expect(visit.page.get_by_role("alert")).to_contain_text(
        "accepted are JPEG, PNG, WebP, BMP, TIFF, AVIF, HEIC, JPEG XL."
    )
    expect(visit.page.get_by_role("alert")).to_contain_text("not_a_picture · 415")
    expect(visit.page.locator("#found")).to_be_hidden()
    visit.page.get_by_role("button", name="Sample 1").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    expect(visit.page.get_by_role("alert")).to_be_hidden()
    # The browser itself logs each answer with an error status.
    assert [line for line in visit.complaints if "415" not in line] == []
    visit.complaints.clear()


def test_the_page_is_busy_until_the_answer_comes_and_knows_a_proxys_plain_error(visit):
    held: list[Route] = []
    visit.page.route("**/detect?*", lambda route: held.append(route))  # Playwright accepts no built-in method
    visit.page.get_by_role("button", name="Sample 1").click()
    stage = visit.page.get_by_role("region", name="Picture with boxes")
    expect(stage).to_have_attribute("aria-busy", "true")
    expect(visit.page.locator("#progress")).to_be_visible()
    expect(visit.page.locator("#picture")).to_be_visible()  # visible meanwhile
    held.pop().fulfill(status=503, body="Request dropped", headers={"Retry-After": "2"}, content_type="text/plain")
    expect(visit.page.get_by_role("alert")).to_contain_text("503 Service Unavailable (retry after 2 s).")
    expect(stage).to_have_attribute("aria-busy", "false")
    visit.page.unroute("**/detect?*")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    assert [line for line in visit.complaints if "503" not in line] == []
    visit.complaints.clear()


def test_a_picture_over_the_limit_is_refused_without_sending_it(visit):
    visit.choose("large.jpg", sample_picture() + bytes(MAX_BYTES))
    expect(visit.page.get_by_role("alert")).to_contain_text(f"at most {MAX_BYTES} are accepted")
    assert visit.asked() == []


def test_a_service_that_is_away_can_be_asked_again(visit):
    visit.page.context.set_offline(True)
    visit.choose("one.jpg", sample_picture())
    expect(visit.page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    visit.page.context.set_offline(False)
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    assert [line for line in visit.complaints if "ERR_INTERNET_DISCONNECTED" not in line] == []
    visit.complaints.clear()


def hold_first_request(visit: Visit) -> list[Route]:
    """Lets the first request for boxes hang; returns those that hang, one at most."""
    held: list[Route] = []
    visit.page.route("**/detect?*", lambda route: route.continue_() if held else held.append(route))
    return held


def test_a_request_that_hangs_does_not_hold_up_the_next_pictures(visit):
    hold_first_request(visit)
    with visit.page.expect_request("**/detect?*"):
        visit.page.get_by_role("button", name="Sample 1").click()
    visit.page.get_by_role("button", name="Sample 2").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    visit.page.get_by_role("button", name="Sample 1").click()
    expect(visit.page.locator("#progress")).to_be_visible()
    assert visit.visible_boxes().count() == 0


def test_a_picture_can_be_given_up_and_asked_about_again(visit):
    hold_first_request(visit)
    with visit.page.expect_request("**/detect?*"):
        visit.page.get_by_role("button", name="Sample 1").click()
    visit.page.get_by_role("button", name="Sample 2").click()  # waits for the first
    for name in ("Sample 2", "Sample 1"):
        visit.page.get_by_role("button", name=name).click()
        visit.page.get_by_role("button", name="Cancel").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("Cancelled.")
    assert len(visit.asked()) == 1, "the second was never sent"
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.visible_boxes()).not_to_have_count(0)
    expect(visit.page.get_by_role("button", name="Cancel")).to_be_hidden()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<!doctype html><p>login", "The answer is no JSON: it begins with “<!doctype html><p>login”."),
        ("", "The answer is no JSON: it is empty."),
        ('{"ok": true}', "The answer has no boxes: another service answered."),
    ],
)
def test_an_answer_of_another_kind_is_named(visit, body, told):
    visit.page.route("**/detect?*", lambda route: route.fulfill(status=200, body=body))
    visit.page.get_by_role("button", name="Sample 1").click()
    expect(visit.page.get_by_role("alert")).to_contain_text(told)


@pytest.mark.parametrize("visit", [{"viewport": {"width": 320, "height": 640}}, {}], indirect=True, ids=["320", "1360"])
def test_times_labels_and_rows_keep_their_places(visit):
    times = {"decode": 12345.6, "queue": 2303.2, "engine": 254.1, "total": 123456.7}
    name = "a class with a name that is far longer than a narrow screen can show in one line"
    box = {"class_id": 1, "class_name": name, "confidence": 0.9, "x1": 0, "y1": 0, "x2": 1600, "y2": 1216}
    answer = {"picture": {"width": 1600, "height": 1216}, "boxes": [box], "timing_ms": times, "model": {}}
    visit.page.route("**/detect?*", lambda route: route.fulfill(json=answer))
    visit.page.get_by_role("button", name="Sample 1").click()
    expect(visit.visible_boxes()).to_have_count(1)
    edges = visit.page.locator("#stages > div > dd:last-child").evaluate_all(
        "(cells) => cells.map((cell) => { const range = document.createRange(); range.selectNodeContents(cell);"
        " const { left, right } = range.getBoundingClientRect(), own = cell.getBoundingClientRect();"
        " return [Math.round(right), left >= own.left - 1]; })"
    )
    assert len({right for right, _ in edges}) == 1
    assert all(fits for _, fits in edges)
    label, overlay = (visit.page.locator(selector).bounding_box() for selector in (".label", "#overlay"))
    assert overlay["x"] - 1 <= label["x"]
    assert label["x"] + label["width"] <= overlay["x"] + overlay["width"] + 1
    assert overlay["y"] - 1 <= label["y"]
    rows = visit.page.locator(".rows")
    assert rows.evaluate("(list) => list.scrollWidth <= list.clientWidth")
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
