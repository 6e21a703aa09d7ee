"""The page with keys, prompts and stored values that are not as usual."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]
FORBID_STORAGE = """
for (const name of ["sessionStorage", "localStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("forbidden", "SecurityError"); } });
}"""


@pytest.mark.parametrize("key", ["klein_…", "100%", "%E2%80%A6"])
def test_link_with_a_wrong_key_asks_for_one(tab: Tab, key: str) -> None:
    """A link whose key is cut or badly encoded leaves the address bar, and the page says that it is no key."""
    tab.page.goto(f"{tab.klein.url}/#key={key}")

    expect(tab.page.locator("#problem")).to_contain_text("key", timeout=WAIT_MS)
    expect(tab.page.get_by_label("API key")).to_be_focused()
    assert "#" not in tab.page.url
    tab.enter()
    expect(tab.page.get_by_label("API key")).to_be_hidden(timeout=WAIT_MS)
    tab.faults = [fault for fault in tab.faults if "401" not in fault]  # the browser logs each 401


def test_a_page_without_storage_works(tab: Tab) -> None:
    """Where the browser forbids storage, the page works and forgets."""
    tab.page.add_init_script(FORBID_STORAGE)
    tab.ready()
    tab.generate("a red circle")


def test_broken_draft_is_dropped(tab: Tab) -> None:
    """A draft that cannot be read does not stop the page."""
    tab.open()
    tab.page.evaluate(
        "for (const name of ['draft', 'images']) sessionStorage[`klein-${name}`] = '{'"
    )
    tab.ready()
    tab.generate("a red circle")


def test_long_prompt_is_not_cut(tab: Tab, client: httpx.Client) -> None:
    """A prompt over the limit is kept whole and explained; the limit counts characters as the server does."""
    tab.ready()
    tab.write("🔴" * 10_001)
    tab.page.get_by_role("button", name="Generate").click()
    expect(tab.page.locator("#prompt-problem")).to_have_text(
        "Use up to 10,000 characters: these are 10,001."
    )

    tab.generate("🔴" * 10_000)
    [newest, *_] = client.get("/v1/history").json()["predictions"]
    assert re.fullmatch("🔴{10000}", newest["input"]["prompt"])


def test_server_that_is_gone_is_reported(tab: Tab) -> None:
    """Without the server the page says that it does not respond, whatever is clicked, and works once it is back."""
    problem = tab.page.locator("#problem")
    tab.open()
    expect(tab.page.get_by_label("Prompt")).to_be_visible()
    tab.page.wait_for_load_state("networkidle")
    tab.page.context.set_offline(True)

    tab.enter()
    expect(problem).to_have_text("The server does not respond.", timeout=WAIT_MS)
    tab.write("a red circle")
    tab.page.get_by_role("button", name="Generate").click()
    expect(problem).to_have_text("The server does not respond.", timeout=WAIT_MS)
    tab.page.context.set_offline(False)
    tab.generate("a red circle")
    tab.faults = [fault for fault in tab.faults if "ERR_INTERNET_DISCONNECTED" not in fault]
