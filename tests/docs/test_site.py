"""Built documentation: opens from disk, loads nothing from elsewhere, and its search finds. Needs `make docs`."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.deployments.frontends.page.browser import open_chromium
from tests.docs.blocks import ROOT

SITE = ROOT / "build" / "site"

pytestmark = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="build/site is not there: run `make docs`")


def test_pages_and_styles_load_nothing_from_elsewhere() -> None:
    files = [path for path in SITE.rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > 30
    loading = r"""(?:\bsrc(?:set)?=|<link[^>]*\bhref=|url\(|@import )["']?(?:https?:)?//[^"')]*"""
    assert {str(path): found for path in files if (found := re.findall(loading, path.read_text()))} == {}


def test_search_finds_from_disk_and_asks_nobody() -> None:
    asked: list[str] = []
    with open_chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((SITE / "guides" / "gpu.html").as_uri())
        page.focus("input.md-search__input")
        expect(page.locator(".md-search-result__meta")).to_have_text("Type to start searching")  # the index is read
        page.locator("input.md-search__input").press_sequentially("max_queue")
        expect(page.locator(".md-search-result__list")).to_contain_text("Configuration")
    assert [url for url in asked if not url.startswith("file:")] == []
