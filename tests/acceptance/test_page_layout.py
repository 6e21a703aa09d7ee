"""The layout of the page: at any scroll position, everything that is visible can be read and clicked."""

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser_tab import CHROMIUM, WAIT_MS, opened
from tests.support.klein_server import Klein

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]
COVERED = """() => {
  const covered = [];
  for (const element of document.querySelectorAll("h2:not(.hidden), label, input, textarea, select, summary, button, a, dd, #gallery img, li b, pre")) {
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    if (!element.checkVisibility({ visibilityProperty: true }) || x < 0 || y < 0 || x >= innerWidth || y >= innerHeight) continue;
    const top = document.elementFromPoint(x, y);
    const card = (e) => e.closest("form, section, header, a.skip");
    if (top && card(top) !== card(element)) covered.push(`${element.outerHTML.slice(0, 80)} is below ${top.outerHTML.slice(0, 80)}`);
  }
  return covered;
}"""


@pytest.mark.parametrize(
    "size",
    [(1280, 800), pytest.param((1024, 640), marks=pytest.mark.slow), (360, 740)],
    ids=lambda s: f"{s[0]}",
)
@pytest.mark.parametrize("form", [pytest.param("closed", marks=pytest.mark.slow), "open"])
def test_nothing_covers_anything(
    browser: Browser, klein: Klein, size: tuple[int, int], form: str
) -> None:
    """Scrolled from top to bottom, no part of the page lies over another, with the options open or closed."""
    viewport: Any = {"width": size[0], "height": size[1]}
    with opened(browser, klein, viewport=viewport, reduced_motion="reduce") as tab:
        tab.ready()
        tab.generate("a red circle")
        expect(tab.page.locator("#worker-list b")).to_be_visible(timeout=WAIT_MS)
        if form == "open":
            tab.page.get_by_text("Model and options").click()
        bottom = tab.page.evaluate("document.documentElement.scrollHeight") - size[1]
        covered = []
        for y in range(0, bottom + 100, 100):
            tab.page.evaluate("(y) => window.scrollTo(0, y)", y)
            covered += [f"at {y}: {what}" for what in tab.page.evaluate(COVERED)]

        assert covered == []
        assert tab.faults == []


@pytest.mark.parametrize("width", [1280, 360])
def test_empty_stage_holds_its_examples(browser: Browser, klein: Klein, width: int) -> None:
    """The frame of the empty stage is as high as its examples, also where they take several lines."""
    viewport: Any = {"width": width, "height": 740}
    with opened(browser, klein, viewport=viewport) as tab:
        tab.ready()
        frame, examples = (tab.page.locator(name).bounding_box() for name in ("#frame", "#empty"))

    assert frame is not None
    assert examples is not None
    assert frame["y"] <= examples["y"]
    assert examples["y"] + examples["height"] <= frame["y"] + frame["height"]
