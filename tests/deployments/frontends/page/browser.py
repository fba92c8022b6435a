"""Browser: a real headless Chromium, and an open page."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Starts the Chromium of the system; skips without one, or fails where AZAION_REQUIRE_CHROMIUM is set."""
    if not CHROMIUM:
        message = "no Chromium on the PATH: install it with `apt-get install chromium` (or your system's way)"
        if os.environ.get("AZAION_REQUIRE_CHROMIUM"):
            pytest.fail(message)
        pytest.skip(message)
    expect.set_options(timeout=30_000)  # for a busy machine; immediate effects are asserted without `expect`
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """An open page, with its requests and the browser's complaints."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text)
        )
        page.goto(url)
        expect(page.locator("#card")).to_contain_text("onnxruntime-cpu")

    def asked(self) -> list[str]:
        return [request for request in self.requests if request.startswith("POST")]

    def visible_boxes(self) -> Any:
        return self.page.locator(".box:not([hidden])")

    def slide_to(self, confidence: float) -> None:
        self.page.locator("#confidence").fill(str(confidence))

    def choose(self, name: str, content: bytes) -> None:
        self.page.set_input_files("#files", {"name": name, "mimeType": "", "buffer": content})

    def hand_over(self, event: str, *files: tuple[str, bytes]) -> None:
        """Dispatches a drop or paste of files, as the browser does for a user."""
        self.page.evaluate(
            """([kind, files]) => {
                const data = new DataTransfer();
                for (const [name, text] of files)
                    data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
                const init = { bubbles: true, cancelable: true };
                const event = kind === "paste" ? new ClipboardEvent(kind, { ...init, clipboardData: data })
                                               : new DragEvent(kind, { ...init, dataTransfer: data });
                document.getElementById("stage").dispatchEvent(event);
            }""",
            [event, [(name, base64.b64encode(content).decode()) for name, content in files]],
        )
