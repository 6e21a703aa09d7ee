"""The page in a real browser: what a user does there, with mouse or keyboard, in both themes, on a phone."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support import processes
from tests.support.api_client import LONG, create, fetch, image_file, run
from tests.support.klein_server import Klein

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]
WAIT_MS = 40_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


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

    def draw(self, prompt: str) -> None:
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


@pytest.fixture
def tab(browser: Browser, klein: Klein) -> Iterator[Tab]:
    with opened(browser, klein, permissions=["clipboard-read", "clipboard-write"]) as tab:
        yield tab
    assert tab.faults == []


def test_a_prompt_becomes_a_picture(tab: Tab) -> None:
    """A user enters a key, writes a prompt, and sees the image, also as the first of the gallery."""
    tab.ready()
    tab.draw("a red circle")

    picture = tab.page.locator("#images img")
    assert picture.get_attribute("alt") == "a red circle"
    size = "async (i) => (await i.decode(), [i.naturalWidth, i.naturalHeight])"
    assert picture.evaluate(size) == [1024, 768]  # the model's default
    assert tab.page.locator("#gallery img").first.get_attribute("alt") == "a red circle"
    assert "seed" in tab.page.get_by_role("status").inner_text()


def test_steps_are_seen_and_a_cancel_is_heard(tab: Tab, client: httpx.Client) -> None:
    """During a run the page counts its steps. Cancel ends it there and on the server."""
    tab.ready()
    tab.make_long()
    tab.write("a blue square")
    tab.page.get_by_role("button", name="Generate").click()
    expect(tab.page.get_by_role("status")).to_contain_text("of 200", timeout=WAIT_MS)
    assert tab.page.get_by_role("progressbar").evaluate("(bar) => bar.position") > 0

    tab.page.get_by_role("button", name="Cancel").click()

    expect(tab.page.get_by_role("status")).to_have_text("Cancelled", timeout=WAIT_MS)
    newest = client.get("/v1/executions?limit=1").json()["executions"][0]
    assert newest["status"] == "cancelled"


def test_dropped_images_are_edited(tab: Tab, tmp_path: Path) -> None:
    """Adding an image selects the edit model, and the result has its size."""
    (tmp_path / "in.png").write_bytes(image_file(96, 64))
    tab.ready()
    tab.page.locator("#files").set_input_files(tmp_path / "in.png")
    expect(tab.page.get_by_alt_text("in.png")).to_be_visible()
    tab.page.get_by_label("Same as image").check(force=True)

    tab.draw("make it red")

    assert tab.page.locator("#model").input_value() == "flux-2-klein-4b-edit"
    assert '"image_urls"' in tab.page.locator("#snippet").inner_text()


RUNNERS = {
    "curl": ("bash", "-c"),
    "Python": (sys.executable, "-c"),
    "JavaScript": ("node", "--input-type=module", "-e"),
}


@pytest.mark.parametrize("language", RUNNERS)
def test_the_code_draws_the_same(tab: Tab, language: str, tmp_path: Path) -> None:
    """The code copied from the page runs unchanged, does not contain the key, and generates the same image again."""
    if shutil.which(RUNNERS[language][0]) is None:
        pytest.skip(f"no {RUNNERS[language][0]} for {language}")
    prompt = 'a green triangle, "that\'s $HOME"'  # characters that each language must quote
    tab.ready()
    tab.draw(prompt)
    tab.page.get_by_role("tab", name=language).click()
    tab.page.get_by_role("button", name="Copy").click()
    copied = tab.page.evaluate("navigator.clipboard.readText()")
    ran = processes.run(
        [*RUNNERS[language], copied],
        cwd=tmp_path,
        env=os.environ | {"KEY": tab.klein.key, "NO_PROXY": "*"},
    )

    assert ran.returncode == 0, ran.stderr
    assert tab.klein.key not in copied
    printed_url = re.search(r"http://[^\s\"]+/files/[^\s\"]+", ran.stdout)
    page_url = tab.page.locator("#images img").get_attribute("src")
    assert printed_url
    assert page_url
    assert printed_url[0] != page_url
    assert fetch(printed_url[0]) == fetch(page_url)


def test_a_wrong_key_is_said(tab: Tab) -> None:
    """An unknown key is reported as the problem, and is not stored."""
    tab.open()
    tab.enter("wrong")
    expect(tab.page.get_by_role("alert")).to_have_text("The server does not accept this key.")
    tab.faults.clear()  # the browser logs the 401 as an error

    assert tab.page.evaluate("Object.keys(localStorage).length") == 0
    assert tab.page.context.cookies() == []


def test_what_the_server_refuses_is_said(tab: Tab) -> None:
    """An invalid field is named, and the form can be used again."""
    tab.ready()
    tab.page.get_by_text("Model and options").click()
    tab.page.get_by_label("LoRAs").fill("none.bin")
    tab.write("a house")
    tab.page.get_by_role("button", name="Generate").click()

    expect(tab.page.get_by_role("alert")).to_contain_text("loras")
    expect(tab.page.get_by_role("button", name="Generate")).to_be_enabled()
    tab.faults.clear()  # the browser logs the 400 as an error


def test_the_keyboard_is_enough(tab: Tab) -> None:
    """From the key to the code, everything works without a mouse."""
    tab.open()
    keys = tab.page.keyboard
    tab.page.get_by_label("API key").focus()
    keys.type(tab.klein.key)
    keys.press("Enter")
    expect(tab.page.get_by_label("Prompt")).to_be_focused()
    keys.type("a red square")
    keys.press("Control+Enter")
    expect(tab.page.get_by_role("link", name="Download")).to_be_visible(timeout=WAIT_MS)
    for _ in range(40):
        keys.press("Tab")
        if tab.page.evaluate("document.activeElement.id") == "tab-curl":
            break
    keys.press("ArrowRight")

    expect(tab.page.get_by_role("tab", name="Python")).to_be_focused()
    assert tab.page.locator("#snippet").inner_text().startswith("import os")


def test_the_gallery_shows_what_the_key_drew(tab: Tab, client: httpx.Client) -> None:
    """The gallery shows the newest images of this key, the rest on demand. Each opens, can be edited, and restores its settings."""
    with tab.klein.client(tab.klein.other_key) as own:
        for k in range(14):
            run(own, prompt=f"picture {k}")
    run(client, prompt="another key's")
    tab.open()
    tab.enter(tab.klein.other_key)
    gallery = tab.page.locator("#gallery img")
    expect(gallery).to_have_count(12, timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Show more").click()

    for place in range(14):
        expect(gallery.nth(place)).to_have_attribute(
            "alt", f"picture {13 - place}", timeout=WAIT_MS
        )
    expect(tab.page.get_by_alt_text("another key's")).to_have_count(0)

    gallery.nth(1).click()
    expect(tab.page.locator("#images img")).to_have_attribute("alt", "picture 12")
    tab.page.get_by_role("button", name="Use these settings").click()
    assert tab.page.get_by_label("Prompt").input_value() == "picture 12"
    assert tab.page.locator("#width").input_value() == "64"
    tab.page.get_by_role("button", name="Edit this image").click()
    expect(tab.page.locator("#reference-list img")).to_have_count(1)
    assert tab.page.locator("#model").input_value() == "flux-2-klein-4b-edit"


def test_a_server_that_is_gone_is_said(tab: Tab, client: httpx.Client) -> None:
    """If the rest of the gallery cannot be loaded, the page says so and keeps working."""
    for _ in range(13):
        run(client)
    tab.ready()
    more = tab.page.get_by_role("button", name="Show more")
    expect(more).to_be_visible(timeout=WAIT_MS)
    tab.page.context.set_offline(True)
    more.click()

    expect(tab.page.get_by_role("alert")).not_to_be_empty(timeout=WAIT_MS)
    tab.page.context.set_offline(False)
    tab.faults = [fault for fault in tab.faults if "ERR_INTERNET_DISCONNECTED" not in fault]


def test_the_server_is_seen(tab: Tab, client: httpx.Client, busy: str) -> None:
    """Queue and workers on the page are the counts of `/v1/status`."""
    waiting = create(client)
    tab.ready()

    expect(tab.page.locator("#running")).to_have_text("1", timeout=WAIT_MS)
    expect(tab.page.locator("#waiting")).to_have_text("1")
    status = client.get("/v1/status").json()
    assert tab.page.locator("#workers").inner_text() == str(len(status["workers"])) == "1"
    assert tab.page.locator("#worker-list b").inner_text() == status["workers"][0]["name"]
    client.post(f"/v1/prediction/{waiting}/cancel")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everyone_can_use_it(browser: Browser, klein: Klein, theme: Any, width: int) -> None:
    """axe finds no problem in either theme, empty or full, and nothing is cut off at the width of a phone."""
    size: Any = {"width": width, "height": 800}
    with opened(browser, klein, color_scheme=theme, viewport=size, reduced_motion="reduce") as tab:
        tab.open()
        tab.page.wait_for_load_state("networkidle")
        problems = Axe().run(tab.page).response["violations"]
        tab.ready()
        tab.draw("a red circle")
        tab.page.get_by_text("Model and options").click()
        problems += Axe().run(tab.page).response["violations"]

        assert [(f["id"], [n["html"] for n in f["nodes"]]) for f in problems] == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.faults == []


def test_nothing_foreign_is_loaded(tab: Tab) -> None:
    """Everything comes from this server, and the policy allows no other script or style."""
    tab.ready()
    tab.draw("a red circle")

    assert {answer.url.split("/")[2] for answer in tab.answers} == {tab.klein.url.split("/")[2]}
    policy = tab.answers[0].headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    refused = tab.page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (e) => done(e.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.harmed = true";
          document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem"
    assert tab.page.evaluate("window.harmed") is None
    tab.faults.clear()  # the violation that the test caused


def test_files_are_cached_and_small(client: httpx.Client) -> None:
    """A second visit gets a 304 for each file, and a missing file is a 404."""
    first = client.get("/page/main.js")
    again = client.get("/page/main.js", headers={"If-None-Match": first.headers["ETag"]})
    plain = client.get("/page/main.js", headers={"Accept-Encoding": "identity"})

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert first.headers["Content-Encoding"] == "gzip"
    assert plain.text == first.text
    assert client.get("/page/../main.py").status_code == 404
    assert client.get("/page/nothing.js").status_code == 404


def test_the_bench_measures_a_visit(tiny_weights: Path, tmp_path: Path) -> None:
    """`make bench-page` counts requests, bytes and the first paint, and writes its three images."""
    (tmp_path / "page.md").write_text("# The page\n")
    short = ["--visits", "1", "--docs", str(tmp_path), "--weights", str(tiny_weights)]
    ran = processes.run([sys.executable, "-m", "benchmarks.page", *short], timeout_s=100)

    assert ran.returncode == 0, ran.stderr
    row = re.search(
        r"^\| first visit \| (\d+) \| ([\d.]+) kB \| (\d+) ms",
        (tmp_path / "page.md").read_text(),
        re.MULTILINE,
    )
    assert row
    assert int(row[1]) <= 12  # requests
    assert 0 < float(row[2]) < 30  # kB transferred
    assert int(row[3]) > 0
    assert len(list(tmp_path.glob("*.png"))) == 3
