"""The brush of the page: a part of the first image is painted and redrawn, the rest stays."""

import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from tests.support.api_client import fetch
from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"
)
SIDE = 256
READ_MASK = "() => document.querySelector('#mask-save').href"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file of random colours."""
    file = tmp_path / "photo.png"
    noise = np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(file)
    return file


def choose(tab: Tab, picture: Path) -> None:
    """Open the brush for an image."""
    tab.ready()
    expect(tab.page.locator("#model option")).not_to_have_count(0, timeout=WAIT_MS)
    tab.page.locator("#files").set_input_files(picture)
    expect(tab.page.get_by_alt_text("photo.png").first).to_be_visible()
    tab.page.get_by_text("Redraw a part only").click()
    expect(tab.page.locator("#mask-canvas")).to_have_attribute("width", str(SIDE), timeout=WAIT_MS)


def paint(tab: Tab, *points: tuple[float, float]) -> None:
    """Paint a stroke through points, in shares of the image."""
    canvas = tab.page.locator("#mask-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    save = tab.page.locator("#mask-save")
    before = save.get_attribute("href") or "none"
    for k, (x, y) in enumerate(points):
        tab.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if k == 0:
            tab.page.mouse.down()
    tab.page.mouse.up()
    expect(save).not_to_have_attribute("href", before)
    expect(save).to_be_visible()


def painted(tab: Tab) -> "np.ndarray[Any, Any]":
    """Return the mask that the page would send."""
    uri = tab.page.evaluate(READ_MASK)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image.convert("L"))


def test_painted_part_is_redrawn(tab: Tab, picture: Path, client: httpx.Client) -> None:
    """A painted corner is white in the mask, and only that corner changes."""
    choose(tab, picture)
    paint(tab, (0.75, 0.75), (0.9, 0.9))
    expect(tab.page.get_by_role("link", name="Save")).to_be_visible()
    mask = painted(tab)
    tab.page.get_by_text("Model and options").click()
    tab.page.get_by_label("Strength").fill("0.8")
    tab.generate("a blue star")
    newest = client.get("/v1/history?limit=1").json()["predictions"][0]
    with Image.open(picture) as image:
        before = np.asarray(image, float)
    with Image.open(io.BytesIO(fetch(newest["output"]))) as image:
        after = np.asarray(image.convert("RGB"), float)

    assert (mask[: SIDE // 2] == 0).all()
    assert mask[int(0.8 * SIDE), int(0.8 * SIDE)] == 255
    assert newest["input"]["strength"] == 0.8
    assert (after[mask < 12] == before[mask < 12]).all()
    assert (after[mask == 255] != before[mask == 255]).any()


def test_strokes_are_taken_back(tab: Tab, picture: Path) -> None:
    """Undo takes back the last stroke, Clear all of them, and another image has no mask."""
    choose(tab, picture)
    page = tab.page
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    paint(tab, (0.2, 0.2), (0.3, 0.2))
    one = painted(tab)
    paint(tab, (0.8, 0.8), (0.8, 0.8))
    assert (painted(tab) > 0).sum() > (one > 0).sum()
    page.get_by_role("button", name="Undo").click()
    assert (painted(tab) == one).all()
    assert '"mask_url"' in page.locator("#snippet").inner_text()
    page.get_by_role("button", name="Clear").click()

    expect(page.get_by_role("link", name="Save")).to_be_hidden()
    assert '"mask_url"' not in page.locator("#snippet").inner_text()
    paint(tab, (0.5, 0.5), (0.6, 0.5))
    page.get_by_role("button", name="Remove photo.png").click()
    expect(page.get_by_text("Redraw a part only")).to_be_hidden()
    assert '"mask_url"' not in page.locator("#snippet").inner_text()


def test_mask_file_is_chosen_with_the_keyboard(tab: Tab, picture: Path, tmp_path: Path) -> None:
    """A mask file is used as it is, can be reached with the keyboard, and survives a reload. Another file is refused."""
    chosen = Image.new("L", (SIDE, SIDE))
    chosen.paste(255, (0, 0, SIDE // 2, SIDE // 2))
    chosen.save(tmp_path / "mask.png")
    (tmp_path / "text.png").write_bytes(b"text")
    choose(tab, picture)
    page = tab.page
    page.locator("#mask summary").focus()
    for _ in range(2):  # past the brush, as Undo and Clear are disabled
        page.keyboard.press("Tab")
    expect(page.locator("#mask-file")).to_be_focused()
    page.locator("#mask-file").set_input_files(tmp_path / "text.png")
    expect(page.locator("#mask-file-problem")).to_contain_text("cannot read the file")
    page.locator("#mask-file").set_input_files(tmp_path / "mask.png")
    expect(page.get_by_role("link", name="Save")).to_be_visible()
    assert (painted(tab) == np.asarray(chosen)).all()
    expect(page.locator("#mask-file-problem")).to_have_count(0)
    page.reload()

    expect(page.get_by_role("link", name="Save")).to_be_visible(timeout=WAIT_MS)
    assert (painted(tab) == np.asarray(chosen)).all()


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 360])
def test_brush_is_accessible(tab: Tab, picture: Path, width: int) -> None:
    """axe finds no problem with the open brush, and it fits the width of a phone."""
    tab.page.set_viewport_size({"width": width, "height": 800})
    choose(tab, picture)
    paint(tab, (0.2, 0.2), (0.5, 0.5))
    problems = Axe().run(tab.page).response["violations"]

    assert [(f["id"], [n["html"] for n in f["nodes"]]) for f in problems] == []
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
