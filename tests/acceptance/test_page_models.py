"""The page on a server with two models, and for people who see it in other colours or on a small screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.support.api_client import image_file
from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab, opened
from tests.support.klein_server import Klein, running_klein

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(240),
]
BASE = "flux-2-klein-4b-base-text-to-image"
BASE_EDIT = "flux-2-klein-4b-base-edit"
BROKEN_WORDS = """() => [...document.querySelectorAll("#usage :is(th, td):not(:nth-child(2))")].filter((cell) => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return new Set([...range.getClientRects()].map(({ top }) => top)).size > 1;
}).map((cell) => cell.textContent)"""
HIGHLIGHT = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  Object.assign(probe.style, { forcedColorAdjust: "none", backgroundColor: "Highlight" });
  return getComputedStyle(probe).backgroundColor;
}"""
STYLE_OF = "(element, name) => getComputedStyle(element)[name]"


@pytest.fixture(scope="module")
def two_models(tiny_weights: Path, tiny_base_weights: Path) -> Iterator[Klein]:
    """One worker with a distilled and a base checkpoint."""
    with running_klein(f"{tiny_weights}, {tiny_base_weights}") as klein:
        yield klein


@pytest.fixture
def tab(browser: Browser, two_models: Klein) -> Iterator[Tab]:
    with opened(browser, two_models, viewport={"width": 1280, "height": 800}) as tab:
        yield tab
        assert tab.faults == []


def open_usage(tab: Tab) -> None:
    tab.page.get_by_text("Usage of this key").click()
    expect(tab.page.locator("#usage-rows tr").first).to_be_visible(timeout=WAIT_MS)


def test_both_models_are_shown_and_chosen(tab: Tab) -> None:
    """The page lists both models of the worker. Guidance and negative prompt are fields of the base model only."""
    tab.ready()
    page = tab.page
    expect(page.locator("#worker-list li")).to_have_count(2, timeout=WAIT_MS)
    expect(page.locator("#pulse")).to_have_text("1 worker ready")
    page.get_by_text("Model and options").click()
    expect(page.get_by_label("Guidance")).to_be_hidden()
    page.get_by_label("Model", exact=True).select_option(BASE)
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_label("Guidance").fill("3.5")
    page.get_by_label("Negative", exact=True).fill("a square")
    tab.generate("a red circle")

    snippet = page.locator("#snippet").inner_text()
    for part in (f'"model": "{BASE}"', '"guidance_scale": 3.5', '"negative_prompt": "a square"'):
        assert part in snippet
    page.get_by_label("Guidance").fill("")
    page.get_by_label("Negative", exact=True).fill("")
    page.get_by_role("button", name="Use these settings").click()
    expect(page.get_by_label("Guidance")).to_have_value("3.5")
    expect(page.get_by_label("Negative", exact=True)).to_have_value("a square")
    page.get_by_label("Model", exact=True).select_option("flux-2-klein-4b-text-to-image")
    expect(page.get_by_label("Guidance")).to_be_hidden()
    assert "guidance" not in page.locator("#snippet").inner_text()


def test_images_keep_the_checkpoint(tab: Tab) -> None:
    """Adding an image selects the edit model of the chosen checkpoint, and removing it the model without images."""
    tab.ready()
    page = tab.page
    page.get_by_text("Model and options").click()
    model = page.get_by_label("Model", exact=True)
    model.select_option(BASE)
    image = {"name": "in.png", "mimeType": "image/png", "buffer": image_file()}
    page.locator("#files").set_input_files(image)  # type: ignore[arg-type]  # a dict is a FilePayload

    expect(model).to_have_value(BASE_EDIT)
    expect(page.get_by_label("Guidance")).to_be_visible()
    expect(page.get_by_label("Steps", exact=True)).to_have_attribute("placeholder", "28")
    assert f'"model": "{BASE_EDIT}"' in page.locator("#snippet").inner_text()
    page.get_by_role("button", name="Remove in.png").click()
    expect(model).to_have_value(BASE)


def test_chosen_model_stays_and_says_what_it_lacks(tab: Tab) -> None:
    """A model that does not fit the images stays chosen, as the code shows, and the page says why it cannot run."""
    tab.ready()
    page = tab.page
    tab.write("make it red")
    page.get_by_text("Model and options").click()
    model = page.get_by_label("Model", exact=True)
    model.select_option(BASE_EDIT)
    page.get_by_role("button", name="Generate").click()

    problem = page.locator("#files-problem")
    expect(model).to_have_value(BASE_EDIT)
    expect(problem).to_have_text("This model edits: add an image.")
    assert f'"model": "{BASE_EDIT}"' in page.locator("#snippet").inner_text()
    image = {"name": "in.png", "mimeType": "image/png", "buffer": image_file()}
    page.locator("#files").set_input_files(image)  # type: ignore[arg-type]  # a dict is a FilePayload
    expect(problem).to_be_hidden()
    model.select_option(BASE)
    page.get_by_role("button", name="Generate").click()
    expect(problem).to_have_text(
        "This model takes no images: remove them, or choose a model that edits."
    )


@pytest.mark.parametrize("width", [1280, 360])
def test_usage_can_be_read(browser: Browser, two_models: Klein, width: int) -> None:
    """The table of the usage breaks no number or heading, has no double line above, and axe finds no problem."""
    viewport: Any = {"width": width, "height": 800}
    with opened(browser, two_models, viewport=viewport) as tab:
        tab.ready()
        tab.generate("a red circle")
        open_usage(tab)
        page = tab.page

        assert page.evaluate(BROKEN_WORDS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#usage").evaluate(STYLE_OF, "borderTopWidth") == "0px"
        assert Axe().run(page).response["violations"] == []
        assert tab.faults == []


def test_forced_colours_show_what_is_chosen(browser: Browser, two_models: Klein) -> None:
    """With the colours of the user, the chosen size, the chosen tab and the progress can be told from the others."""
    with opened(browser, two_models, forced_colors="active", color_scheme="dark") as tab:
        tab.ready()
        page = tab.page
        sizes = page.locator("#sizes label:visible")
        grounds = [size.evaluate(STYLE_OF, "backgroundColor") for size in sizes.all()]
        chosen = page.locator("#sizes label:has(:checked)").evaluate(STYLE_OF, "backgroundColor")
        lines = [tab.evaluate(STYLE_OF, "borderBottomColor") for tab in page.get_by_role("tab").all()]  # fmt: skip

        assert chosen == page.evaluate(HIGHLIGHT)
        assert grounds.count(chosen) == 1
        assert lines.count(lines[0]) == 1
        assert page.locator("#progress").evaluate(STYLE_OF, "forcedColorAdjust") == "none"
        assert tab.faults == []


def test_problems_of_one_row_name_their_fields(tab: Tab) -> None:
    """Wrong values side by side are explained below, in the order of the fields, each with the name of its field."""
    tab.ready()
    page = tab.page
    tab.write("a house")
    page.get_by_text("Model and options").click()
    page.get_by_label("Model", exact=True).select_option(BASE)
    page.get_by_label("Custom").check(force=True)
    wrong = {"width": "300", "height": "10", "steps": "99", "count": "9", "guidance": "21"}
    for name, value in wrong.items():
        page.locator(f"#{name}").fill(value)
    page.get_by_role("button", name="Generate").click()

    expect(page.locator(".field-problem")).to_have_text(
        [
            "Width: Use a multiple of 16, such as 304.",
            "Height: Use 64 pixels or more.",
            "Steps: Use a whole number from 1 to 50.",
            "Images: Use a whole number from 1 to 4.",
            "Guidance: Use a number from 0 to 20.",
        ]
    )


def test_result_is_visible_on_a_phone(browser: Browser, two_models: Klein) -> None:
    """On a phone the result is below the form: the page scrolls to it, and the focus stays."""
    phone: Any = {"width": 360, "height": 740}
    with opened(browser, two_models, viewport=phone, has_touch=True, is_mobile=True) as tab:
        tab.ready()
        tab.generate("a red circle")

        expect(tab.page.locator("#images img")).to_be_in_viewport(ratio=0.5)
        expect(tab.page.locator("#shortcut")).to_be_hidden()
        assert tab.faults == []
