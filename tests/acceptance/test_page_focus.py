"""The page with the keyboard and a screen reader: where the focus goes when what had it goes away, and what is read."""

from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.api_client import run
from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]


def press(tab: Tab, name: str) -> None:
    """Press a button with the keyboard."""
    button = tab.page.get_by_role("button", name=name)
    button.focus()
    button.press("Enter")


def test_stage_keeps_the_focus(tab: Tab) -> None:
    """Cancel and Delete go away when they are pressed; the focus stays at the result, and steps are not read aloud."""
    tab.ready()
    page = tab.page
    tab.make_long()
    tab.write("a red circle")
    press(tab, "Generate")
    expect(page.locator("#says")).to_contain_text("Step", timeout=WAIT_MS)
    expect(page.locator("#says")).to_have_attribute("aria-live", "off")
    press(tab, "Cancel")

    expect(page.locator("#says")).to_have_text("Cancelled", timeout=WAIT_MS)
    expect(page.locator("#says")).to_have_attribute("aria-live", "polite")
    expect(page.locator("#stage")).to_be_focused()
    press(tab, "Delete")
    press(tab, "Really delete?")
    expect(page.locator("#says")).to_have_text("Deleted", timeout=WAIT_MS)
    expect(page.locator("#stage")).to_be_focused()


def test_removed_images_and_loras_pass_the_focus_on(tab: Tab, tmp_path: Path) -> None:
    """Removing an image or a LoRA moves the focus to the next one, or to the field that adds one."""
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for file in files:
        Image.new("RGB", (64, 64)).save(file)
    tab.ready()
    page = tab.page
    page.locator("#files").set_input_files(files)
    expect(page.get_by_alt_text("b.png")).to_be_visible(timeout=WAIT_MS)
    press(tab, "Remove a.png")
    expect(page.get_by_role("button", name="Remove b.png")).to_be_focused()
    press(tab, "Remove b.png")
    expect(page.locator("#files")).to_be_focused()
    page.get_by_text("Model and options").click()
    page.locator("#loras").fill("ink.safetensors:0.8")
    page.locator("#loras").press("Tab")
    press(tab, "Remove ink.safetensors")

    expect(page.locator("#loras")).to_be_focused()


def test_last_page_of_the_gallery_has_the_focus(tab: Tab, client: httpx.Client) -> None:
    """ "Show more" goes away after the last page; the focus moves to the first image that it added."""
    for number in range(13):
        run(client, prompt=f"focus {number}")
    tab.ready()
    page = tab.page
    with page.expect_response(lambda response: "prompt=focus" in response.url):
        page.get_by_label("Search").fill("focus")
    expect(page.locator('#gallery img[alt^="focus"]')).to_have_count(12, timeout=WAIT_MS)
    press(tab, "Show more")

    expect(page.locator("#gallery li")).to_have_count(13, timeout=WAIT_MS)
    expect(page.locator("#gallery li").nth(12).locator("a")).to_be_focused()
