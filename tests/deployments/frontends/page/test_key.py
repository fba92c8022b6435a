"""The page on a service that wants keys, in a real Chromium, before a service in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.deployments.access.keys_made import add_key
from tests.deployments.frontends.page.browser import open_chromium
from tests.deployments.frontends.page.served import served


@pytest.fixture(scope="module")
def secret_and_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    secret = add_key(keys)
    with served(access={"keys_file": str(keys)}, batch_size=1) as url:
        yield secret, url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, secret_and_url: tuple[str, str]) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(secret_and_url[1])
    yield page
    context.close()


def give(page: Page, secret: str) -> None:
    page.locator("#key").fill(secret)
    page.keyboard.press("Enter")


def test_the_page_asks_for_a_key_and_keeps_it_for_its_tab_only(page, secret_and_url):
    secret, url = secret_and_url
    dialog = page.locator("#key-dialog")
    expect(dialog).to_contain_text("This service wants a key")
    expect(dialog).not_to_contain_text("unknown")
    give(page, "azk_wrong")
    expect(dialog).to_contain_text("the key is unknown here")
    expect(dialog).to_be_visible()
    give(page, secret)
    expect(page.locator("#card")).to_contain_text("stand-in")
    expect(dialog).to_be_hidden()
    page.locator("[data-sample='sample_1.jpg']").click()
    expect(page.locator("#curl")).to_contain_text("X-API-Key: $AZAION_KEY")
    assert secret not in page.content()
    assert secret not in page.url
    page.reload()
    expect(page.locator("#card")).to_contain_text("stand-in")
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    other = page.context.new_page()
    other.goto(url)
    expect(other.locator("#key-dialog")).to_be_visible()


def test_without_a_key_the_page_tells_the_services_words(page):
    expect(page.locator("#key-dialog")).to_be_visible()
    page.locator("#key-cancel").click()
    expect(page.locator("#served")).to_contain_text("A key is needed")
    page.locator("[data-sample='sample_1.jpg']").click()
    expect(page.locator("#key-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#problem-code")).to_have_text("unauthorized · 401")
