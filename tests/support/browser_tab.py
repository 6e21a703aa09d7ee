"""The page in a tab of a real browser: what a user does there, and every error that the tab reports."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.support.api_client import LONG
from tests.support.klein_server import Klein

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
WAIT_MS = 40_000


class Tab:
    """One tab on the page, and all errors in it."""

    def __init__(self, page: Page, klein: Klein) -> None:
        self.page = page
        self.klein = klein
        self.faults: list[str] = []
        self.answers: list[Any] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("response", lambda answer: self.answers.append(answer))  # noqa: PLW0108 -- no builtins

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(message.text)

    def open(self) -> None:
        self.page.goto(self.klein.url)

    def enter(self, key: str | None = None) -> None:
        self.page.get_by_label("API key").fill(key or self.klein.key)
        self.page.get_by_label("API key").press("Enter")

    def ready(self) -> None:
        self.open()
        self.enter()
        expect(self.page.get_by_label("API key")).to_be_hidden(timeout=WAIT_MS)

    def write(self, prompt: str) -> None:
        self.page.get_by_label("Prompt").fill(prompt)

    def generate(self, prompt: str) -> None:
        self.write(prompt)
        self.page.get_by_role("button", name="Generate").click()
        expect(self.page.get_by_role("link", name="Download")).to_be_visible(timeout=WAIT_MS)

    def make_long(self) -> None:
        """Choose settings that take a minute."""
        self.page.get_by_text("Model and options").click()
        self.page.get_by_label("Steps", exact=True).fill(str(LONG["num_inference_steps"]))
        self.page.get_by_label("Images", exact=True).fill(str(LONG["num_images"]))
        self.page.get_by_label("1024").check(force=True)


@contextmanager
def opened(browser: Browser, klein: Klein, **options: Any) -> Iterator[Tab]:
    context = browser.new_context(**options)
    try:
        yield Tab(context.new_page(), klein)
    finally:
        context.close()
