"""What runs and what was generated, on the page: a reload or second tab finds it, and each image can be used."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.support.api_client import LONG, TEXT, create, fetch, get, order, run, until
from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab, opened
from tests.support.klein_server import Klein

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def full_gallery(client: httpx.Client) -> None:
    """More images than the gallery shows at once."""
    for number in range(13):
        run(client, prompt=f"older image {number}")


def test_reload_finds_what_runs(tab: Tab, client: httpx.Client, busy: str) -> None:
    """After a reload the page follows the running prediction: its steps, its preview, and Cancel."""
    tab.ready()
    expect(tab.page.get_by_role("status")).to_contain_text("Step", timeout=WAIT_MS)
    tab.page.reload()

    expect(tab.page.get_by_role("status")).to_contain_text("Step", timeout=WAIT_MS)
    tab.page.get_by_role("button", name="Cancel").click()
    expect(tab.page.get_by_role("status")).to_have_text("Cancelled", timeout=WAIT_MS)
    assert get(client, busy)["status"] == "cancelled"


def test_second_tab_follows_and_previews(tab: Tab, browser: Browser, klein: Klein) -> None:
    """A prediction started in one tab is followed in a second one, with its previews."""
    tab.ready()
    tab.make_long()
    tab.write("a blue square")
    tab.page.get_by_role("button", name="Generate").click()
    expect(tab.page.get_by_alt_text("Preview")).to_be_visible(timeout=WAIT_MS)
    with opened(browser, klein) as second:
        second.ready()

        expect(second.page.get_by_alt_text("Preview")).to_be_visible(timeout=WAIT_MS)
        second.page.get_by_role("button", name="Cancel").click()
        assert second.faults == []
    expect(tab.page.get_by_role("status")).to_have_text("Cancelled", timeout=WAIT_MS)


def test_waiting_prediction_shows_its_place(tab: Tab, client: httpx.Client, busy: str) -> None:
    """A queued prediction shows its position and, from recent runs, when it starts."""
    waiting = [create(client) for _ in range(2)]
    tab.ready()

    status = tab.page.get_by_role("status")
    expect(status).to_contain_text("Position 2 in the queue", timeout=WAIT_MS)
    client.post(f"/v1/prediction/{waiting[0]}/cancel")
    expect(status).to_contain_text("Next in the queue", timeout=WAIT_MS)
    client.post(f"/v1/prediction/{waiting[1]}/cancel")
    expect(status).to_have_text("Cancelled", timeout=WAIT_MS)


def test_gallery_follows_other_predictions(
    tab: Tab, client: httpx.Client, full_gallery: None, busy: str
) -> None:
    """Unfinished predictions are tiles of the gallery: a click follows one, and its image appears first when it ends."""
    behind = create(client, prompt="the one behind")
    tab.ready()
    tile = tab.page.locator("#gallery .pending", has_text="the one behind")
    expect(tile).to_contain_text("Waiting", timeout=WAIT_MS)
    tab.page.locator("#gallery .pending", has_text="Generating").click()
    expect(tab.page.get_by_role("status")).to_contain_text("Step", timeout=WAIT_MS)
    client.post(f"/v1/prediction/{busy}/cancel")

    until(lambda: get(client, behind)["status"] == "success")
    expect(tab.page.locator("#gallery img").first).to_have_attribute(
        "alt", "the one behind", timeout=WAIT_MS
    )


def test_each_of_several_images_can_be_used(tab: Tab, client: httpx.Client, tmp_path: Path) -> None:
    """Each image of one prediction opens at full size, downloads under a telling name, is copied, and is edited."""
    made = run(client, prompt="Two red: circles?", num_images=2)
    tab.ready()
    page = tab.page
    page.locator("#gallery a").first.click()
    second = page.locator("#images li").nth(1)
    expect(second.locator("img")).to_have_attribute("alt", "Two red: circles? (2 of 2)")

    link = second.locator("a.picture")
    assert (link.get_attribute("href"), link.get_attribute("target")) == (
        made["output"][1],
        "_blank",
    )
    with page.expect_download() as download:
        second.get_by_role("link", name="Download").click()
    assert re.fullmatch(r"two-red-circles-\w{8}-2\.png", download.value.suggested_filename)
    download.value.save_as(tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes() == fetch(made["output"][1])
    second.get_by_role("button", name="Copy").click()
    expect(second.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.read().then((items) => items[0].types)") == [
        "image/png"
    ]
    second.get_by_role("button", name="Edit").click()
    expect(page.locator("#reference-list img")).to_have_attribute("src", made["output"][1])


def test_result_shows_its_timeline(tab: Tab, client: httpx.Client) -> None:
    """Below a result, a bar and a line show the milliseconds of each stage.."""
    run(client, prompt="measured")
    tab.ready()
    tab.page.get_by_alt_text("measured").first.click()

    expect(tab.page.locator("#timeline-text")).to_contain_text(
        re.compile(r"denoised\u00a0\d+\u00a0ms")
    )
    expect(tab.page.locator('#timeline-bar [data-stage="denoised"]')).to_have_count(1)


def test_usage_of_key_is_shown(tab: Tab, client: httpx.Client) -> None:
    """Opened, the usage shows what the key generated, by day and model."""
    run(client, prompt="counted")
    tab.ready()
    tab.page.get_by_text("Usage of this key").click()

    expect(tab.page.locator("#usage-total")).to_contain_text("Last 30 days", timeout=WAIT_MS)
    expect(tab.page.locator("#usage-rows")).to_contain_text(TEXT)


def test_gallery_click_brings_the_image_into_view(tab: Tab, client: httpx.Client) -> None:
    """From the bottom of the page, a click in the gallery scrolls to the image."""
    run(client, prompt="seen")
    tab.ready()
    tab.page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tab.page.get_by_alt_text("seen").first.click()

    expect(tab.page.locator("#images img")).to_be_in_viewport(ratio=0.9)


def test_delete(tab: Tab, client: httpx.Client) -> None:
    """Delete asks once more, then the image is gone from page, gallery and server."""
    made = run(client, prompt="short-lived")["predictionID"]
    tab.ready()
    tab.page.get_by_alt_text("short-lived").click()
    tab.page.get_by_role("button", name="Delete", exact=True).click()
    tab.page.get_by_role("button", name="Really delete?").click()

    expect(tab.page.get_by_role("status")).to_have_text("Deleted")
    expect(tab.page.get_by_alt_text("short-lived")).to_have_count(0)
    assert client.get(f"/v1/prediction/{made}").status_code == 404


def test_gallery_search_and_filter(tab: Tab, klein: Klein) -> None:
    """Words of the prompt and the filter select what the gallery shows. One request fetches a page of it."""
    with klein.client(klein.other_key) as own:
        run(own, prompt="needle in hay")
        for _ in range(2):
            run(own, prompt="hay")
        lost = own.post("/v1/prediction", json=order(TEXT, **LONG, prompt="lost")).json()["id"]
        own.post(f"/v1/prediction/{lost}/cancel")
    tab.open()
    tab.enter(klein.other_key)
    images = tab.page.locator("#gallery img")
    expect(images.first).to_be_visible(timeout=WAIT_MS)
    asked = [answer.url for answer in tab.answers if "/v1/" in answer.url]
    assert len([url for url in asked if "/v1/history" in url]) == 1
    assert [url for url in asked if "/v1/prediction/" in url] == []

    tab.page.get_by_label("Search").fill("HAY needle")
    expect(images).to_have_count(1, timeout=WAIT_MS)
    tab.page.get_by_label("Search").fill("nothing like this")
    expect(tab.page.get_by_text("Nothing matches.")).to_be_visible(timeout=WAIT_MS)
    tab.page.get_by_label("Search").fill("")
    tab.page.get_by_label("Show").select_option("failed")
    expect(tab.page.locator("#gallery .pending", has_text="lost")).to_contain_text("Cancelled")
    expect(images).to_have_count(0)
