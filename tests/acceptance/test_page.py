"""The page in a real browser: what a user does there, with mouse or keyboard, in both themes, on a phone."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.support import processes
from tests.support.api_client import create, fetch, image_file, run, until
from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab, opened
from tests.support.klein_server import Klein

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]


def test_prompt_gives_image(tab: Tab) -> None:
    """A user enters a key, writes a prompt, and sees the image, also as the first of the gallery."""
    tab.ready()
    tab.generate("a red circle")

    image = tab.page.locator("#images img")
    assert image.get_attribute("alt") == "a red circle"
    size = "async (i) => (await i.decode(), [i.naturalWidth, i.naturalHeight])"
    assert image.evaluate(size) == [1024, 768]  # the model's default
    assert tab.page.locator("#gallery img").first.get_attribute("alt") == "a red circle"
    assert "seed" in tab.page.get_by_role("status").inner_text()


def test_progress_and_cancel(tab: Tab, client: httpx.Client) -> None:
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


def test_dropped_image_is_edited(tab: Tab, tmp_path: Path) -> None:
    """Adding an image selects the edit model, and the result has its size."""
    (tmp_path / "in.png").write_bytes(image_file(96, 64))
    tab.ready()
    tab.page.locator("#files").set_input_files(tmp_path / "in.png")
    expect(tab.page.get_by_alt_text("in.png")).to_be_visible()
    tab.page.get_by_label("Same as image").check(force=True)

    tab.generate("make it red")

    assert tab.page.locator("#model").input_value() == "flux-2-klein-4b-edit"
    assert '"image_urls"' in tab.page.locator("#snippet").inner_text()


RUNNERS = {
    "curl": ("bash", "-c"),
    "Python": (sys.executable, "-c"),
    "JavaScript": ("node", "--input-type=module", "-e"),
}


def run_copied_code(tab: Tab, language: str, folder: Path) -> str:
    """Copy the code from the page, run it in a folder, and return the URL that it prints."""
    if shutil.which(RUNNERS[language][0]) is None:
        pytest.skip(f"no {RUNNERS[language][0]} for {language}")
    tab.page.get_by_role("tab", name=language).click()
    snippet = tab.page.locator("#snippet").text_content()
    tab.page.get_by_role("button", name="Copy code").click()
    assert snippet
    until(lambda: tab.page.evaluate("navigator.clipboard.readText()") == snippet)
    completed = processes.run(
        [*RUNNERS[language], snippet],
        cwd=folder,
        env=os.environ | {"KEY": tab.klein.key, "NO_PROXY": "*"},
    )
    assert completed.returncode == 0, completed.stderr
    assert tab.klein.key not in snippet
    url = re.search(r"http://[^\s\"]+/files/[^\s\"]+", completed.stdout)
    assert url, completed.stdout
    return url[0]


@pytest.mark.parametrize("language", RUNNERS)
def test_copied_code_generates_same_image(tab: Tab, language: str, tmp_path: Path) -> None:
    """The code copied from the page runs unchanged, does not contain the key, and generates the same image again."""
    tab.ready()
    tab.generate('a green triangle, "that\'s $HOME"')  # characters that each language must quote
    printed_url = run_copied_code(tab, language, tmp_path)

    page_url = tab.page.locator("#images img").get_attribute("src")
    assert page_url
    assert printed_url != page_url
    assert fetch(printed_url) == fetch(page_url)


@pytest.mark.parametrize("language", RUNNERS)
def test_copied_code_reads_files(tab: Tab, language: str, tmp_path: Path) -> None:
    """Before an edit ran, its code reads the images from their files and generates the same image."""
    (tmp_path / "it's in.png").write_bytes(image_file(96, 64))
    tab.ready()
    tab.page.locator("#files").set_input_files(tmp_path / "it's in.png")
    tab.page.get_by_text("Model and options").click()
    tab.page.get_by_label("Seed").fill("7")
    tab.write('make it "red", `not` \\blue for $5')
    printed_url = run_copied_code(tab, language, tmp_path)
    tab.page.get_by_role("button", name="Generate").click()
    expect(tab.page.get_by_role("link", name="Download")).to_be_visible(timeout=WAIT_MS)

    assert fetch(printed_url) == fetch(str(tab.page.locator("#images img").get_attribute("src")))


def test_unknown_key_is_reported(tab: Tab) -> None:
    """An unknown key is reported as the problem, and is not stored."""
    tab.open()
    tab.enter("wrong")
    expect(tab.page.get_by_role("alert")).to_have_text("The server does not accept this key.")
    tab.faults.clear()  # the browser logs the 401 as an error

    assert tab.page.evaluate("Object.keys(localStorage).length") == 0
    assert tab.page.context.cookies() == []


def test_refused_input_is_reported(tab: Tab) -> None:
    """An invalid field is named, and the form can be used again."""
    tab.ready()
    tab.page.get_by_text("Model and options").click()
    tab.page.get_by_label("LoRAs").fill("none.bin")
    tab.write("a house")
    tab.page.get_by_role("button", name="Generate").click()

    expect(tab.page.locator("#loras")).to_be_focused()
    expect(tab.page.locator("#loras-problem")).not_to_be_empty()
    expect(tab.page.get_by_role("button", name="Generate")).to_be_enabled()
    tab.faults.clear()  # the browser logs the 400 as an error


def test_keyboard_is_enough(tab: Tab) -> None:
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


def test_gallery_shows_images_of_key(tab: Tab, client: httpx.Client) -> None:
    """The gallery shows the newest images of this key, the rest on demand. Each opens, can be edited, and restores its settings."""
    with tab.klein.client(tab.klein.other_key) as own:
        for k in range(14):
            run(own, prompt=f"image {k}")
    run(client, prompt="another key's")
    tab.open()
    tab.enter(tab.klein.other_key)
    gallery = tab.page.locator("#gallery img")
    expect(gallery).to_have_count(12, timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Show more").click()

    for place in range(14):
        expect(gallery.nth(place)).to_have_attribute("alt", f"image {13 - place}", timeout=WAIT_MS)
    expect(tab.page.get_by_alt_text("another key's")).to_have_count(0)

    gallery.nth(1).click()
    expect(tab.page.locator("#images img")).to_have_attribute("alt", "image 12")
    tab.page.get_by_role("button", name="Use these settings").click()
    assert tab.page.get_by_label("Prompt").input_value() == "image 12"
    assert tab.page.locator("#width").input_value() == "64"
    tab.page.get_by_role("button", name="Edit this image").click()
    expect(tab.page.locator("#reference-list img")).to_have_count(1)
    assert tab.page.locator("#model").input_value() == "flux-2-klein-4b-edit"


def test_gallery_reports_unreachable_server(tab: Tab, client: httpx.Client) -> None:
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


def test_server_status_is_shown(tab: Tab, client: httpx.Client, busy: str) -> None:
    """Queue and workers on the page are the counts of `/v1/status`."""
    waiting = create(client)
    tab.ready()

    expect(tab.page.locator("#running")).to_have_text("1", timeout=WAIT_MS)
    expect(tab.page.locator("#waiting")).to_have_text("1")
    status = client.get("/v1/status").json()
    assert tab.page.locator("#workers").inner_text() == str(len(status["workers"])) == "1"
    assert tab.page.locator("#worker-list b").inner_text() == status["workers"][0]["name"]
    client.post(f"/v1/prediction/{waiting}/cancel")


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1280, "light"),
        (360, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(360, "light", marks=pytest.mark.slow),
    ],
)
def test_accessibility(browser: Browser, klein: Klein, theme: Any, width: int) -> None:
    """axe finds no problem in either theme, empty or full, and nothing is cut off at the width of a phone."""
    size: Any = {"width": width, "height": 800}
    with opened(browser, klein, color_scheme=theme, viewport=size, reduced_motion="reduce") as tab:
        tab.open()
        tab.page.wait_for_load_state("networkidle")
        problems = Axe().run(tab.page).response["violations"]
        tab.ready()
        tab.generate("a red circle")
        tab.page.get_by_text("Model and options").click()
        problems += Axe().run(tab.page).response["violations"]

        assert [(f["id"], [n["html"] for n in f["nodes"]]) for f in problems] == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.faults == []


def test_content_security_policy(tab: Tab) -> None:
    """Everything comes from this server, and the policy allows no other script or style."""
    tab.ready()
    tab.generate("a red circle")

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


def test_page_files_are_cached(client: httpx.Client) -> None:
    """A second visit gets a 304 for each file, and a missing file is a 404."""
    first = client.get("/page/main.js")
    again = client.get("/page/main.js", headers={"If-None-Match": f"W/{first.headers['ETag']}"})
    plain = client.get("/page/main.js", headers={"Accept-Encoding": "gzip; q=0.0"})

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert first.headers["Content-Encoding"] == "gzip"
    assert plain.text == first.text
    assert client.get("/page/../main.py").status_code == 404
    assert client.get("/page/nothing.js").status_code == 404


@pytest.mark.slow
def test_page_benchmark_measures_visit(tiny_weights: Path, tmp_path: Path) -> None:
    """`make bench-page` counts requests, bytes and the first paint, and writes its three images."""
    (tmp_path / "page.md").write_text("# The page\n")
    short = ["--visits", "1", "--docs", str(tmp_path), "--weights", str(tiny_weights)]
    completed = processes.run([sys.executable, "-m", "benchmarks.page", *short], timeout_s=100)

    assert completed.returncode == 0, completed.stderr
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
