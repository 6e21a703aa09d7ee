"""The form of the page: keys and drafts that stay, images from everywhere, and problems said at their fields."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from tests.support.api_client import fetch, image_file, run
from tests.support.browser_tab import CHROMIUM, WAIT_MS, Tab, opened
from tests.support.klein_server import Klein

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: `make tools` as root, or apt-get"),
    pytest.mark.timeout(120),
]
TRANSFER = """([files, type, target]) => {
  const transfer = new DataTransfer();
  for (const [name, kind, data] of files) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: kind }));
  }
  const event = type === "paste"
    ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.querySelector(target).dispatchEvent(event);
  return event.defaultPrevented;
}"""


def give(
    tab: Tab, how: str, *names: str, file: bytes | None = None, target: str = "#gallery-title"
) -> bool:
    """Drop or paste files, at the end of the page unless a target is named. Return whether the page took them."""
    kinds = {
        "png": "image/png",
        "jpg": "image/jpeg",
        "webp": "image/webp",
        "gif": "image/gif",
        "heic": "",
    }
    data = base64.b64encode(file or image_file()).decode()
    files = [[name, kinds[name.rpartition(".")[2]], data] for name in names]
    return bool(tab.page.evaluate(TRANSFER, [files, how, target]))


def drag(tab: Tab, start: str, end: str) -> None:
    """Drag from the middle of one element to that of another, with the mouse."""
    mouse = tab.page.mouse
    for selector in (start, end):
        box = tab.page.locator(selector).first.bounding_box()
        assert box
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
        if selector == start:
            mouse.down()
    mouse.up()


def test_reload_keeps_the_draft(tab: Tab) -> None:
    """Prompt, images and options are there again after a reload."""
    tab.ready()
    page = tab.page
    give(tab, "drop", "in.png")
    expect(page.get_by_alt_text("in.png")).to_be_visible(timeout=WAIT_MS)
    tab.write("make it red")
    page.get_by_text("Model and options").click()
    page.get_by_label("Seed").fill("9223372036854775807")
    page.get_by_label("Format").select_option("webp")
    page.get_by_label("Custom").check(force=True)
    page.get_by_label("Width").fill("320")
    for _ in range(2):
        page.reload()
        expect(page.get_by_alt_text("in.png")).to_be_visible(timeout=WAIT_MS)

        assert page.get_by_label("Prompt").input_value() == "make it red"
        assert page.locator("#seed").input_value() == "9223372036854775807"
        assert page.locator("#format").input_value() == "webp"
        assert page.locator("#width").input_value() == "320"
        assert page.locator("#model").input_value() == "flux-2-klein-4b-edit"


def test_remembered_key_and_draft_serve_a_second_tab(tab: Tab) -> None:
    """With "remember" a new tab needs no key and has the draft; "Forget key" leaves nothing behind."""
    tab.open()
    tab.page.get_by_label("Remember this key").check()
    tab.enter()
    expect(tab.page.get_by_label("API key")).to_be_hidden(timeout=WAIT_MS)
    tab.write("a draft")
    second = tab.page.context.new_page()
    second.goto(tab.klein.url)

    expect(second.get_by_label("API key")).to_be_hidden(timeout=WAIT_MS)
    expect(second.get_by_label("Prompt")).to_have_value("a draft")
    second.get_by_role("button", name="Change key").click()
    second.get_by_role("button", name="Forget key").click()
    expect(second.get_by_label("API key")).to_be_visible(timeout=WAIT_MS)
    assert second.evaluate("Object.keys(localStorage).length") == 0


def test_unremembered_key_stays_in_its_tab(tab: Tab) -> None:
    """Without "remember", nothing is stored beyond the tab."""
    tab.ready()
    tab.write("secret")

    assert tab.page.evaluate("Object.keys(localStorage).length") == 0


def test_link_with_key_opens_the_page(tab: Tab) -> None:
    """The link that `klein up` prints needs no typing, and the key leaves the address bar."""
    tab.page.goto(f"{tab.klein.url}/#key={tab.klein.key}")

    expect(tab.page.locator("#pulse")).to_contain_text("worker", timeout=WAIT_MS)
    expect(tab.page.get_by_label("API key")).to_be_hidden(timeout=WAIT_MS)
    assert tab.klein.key not in tab.page.url


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_images_are_taken_anywhere(tab: Tab, how: str) -> None:
    """Files that are dropped or pasted far from the form are added, and the browser stays on the page."""
    tab.ready()

    assert give(tab, how, "in.png")
    expect(tab.page.get_by_alt_text("in.png")).to_be_visible(timeout=WAIT_MS)


@pytest.mark.parametrize(("name", "output_format"), [("a.png", "png"), ("a.jpg", "jpeg")])
def test_dropped_file_restores_its_settings(
    tab: Tab, client: httpx.Client, name: str, output_format: str
) -> None:
    """A file that says how it was generated fills the form, or is edited where it is dropped on the images to edit."""
    size = {"width": 96, "height": 64}
    options: dict[str, Any] = {
        "prompt": "a zebra, “drawn”",
        "seed": 2**60 + 1,
        "image_size": size,
        "num_inference_steps": 3,
    }
    made = run(client, metadata="full", output_format=output_format, **options)
    file = fetch(made["output"])
    tab.ready()
    give(tab, "drop", name, file=file)

    expect(tab.page.get_by_role("status")).to_contain_text(
        f"Settings of {name} restored", timeout=WAIT_MS
    )
    fields = {"#prompt": "a zebra, “drawn”", "#seed": str(2**60 + 1), "#steps": "3", "#width": "96"}
    for field, value in fields.items():
        expect(tab.page.locator(field)).to_have_value(value)
    expect(tab.page.locator("#reference-list img")).to_have_count(0)
    give(tab, "drop", name, file=file, target="#drop")
    expect(tab.page.get_by_alt_text(name)).to_be_visible(timeout=WAIT_MS)


def test_refused_files_are_named(tab: Tab) -> None:
    """A GIF, a HEIC file and a fifth image are named, with the reason."""
    tab.ready()
    give(tab, "drop", "a.png", "b.gif", "c.heic")
    problem = tab.page.locator("#references-problem")
    expect(problem).to_contain_text(
        "b.gif was not added: klein reads PNG, JPEG, WebP and AVIF, not GIF."
    )
    expect(problem).to_contain_text("c.heic was not added")
    expect(tab.page.locator("#reference-list img")).to_have_count(1)

    give(tab, "drop", "d.png", "e.png", "f.png", "fifth.png")
    expect(problem).to_have_text("An edit takes up to 4 images. Not added: fifth.png.")
    expect(tab.page.locator("#reference-list img")).to_have_count(4)


def test_gallery_image_is_dragged_into_the_form(tab: Tab, client: httpx.Client) -> None:
    """Dragging an image from the gallery to the form edits it. Dropped within the gallery, nothing happens."""
    made = run(client, prompt="draggable")["output"]
    tab.ready()
    tab.page.set_viewport_size({"width": 1280, "height": 1600})
    expect(tab.page.locator("#gallery img").first).to_have_attribute("alt", "draggable")
    drag(tab, "#gallery a", "#gallery-title")
    expect(tab.page.locator("#reference-list img")).to_have_count(0)
    drag(tab, "#gallery a", "#prompt")

    expect(tab.page.locator("#reference-list img")).to_have_attribute("src", made)


@pytest.mark.parametrize(
    ("fields", "wrong", "message"),
    [
        ({"#seed": "99999999999999999999"}, "#seed", "Use a number from -9223372036854775808"),
        ({"#seed": "12a"}, "#seed", "whole number"),
        ({"#steps": "51"}, "#steps", "Use a whole number from 1 to 50."),
        ({"#count": "9"}, "#count", "Use a whole number from 1 to 4."),
        ({"#width": "300", "#height": "512"}, "#width", "such as 304"),
        ({"#width": "512", "#height": "40"}, "#height", "Use 64 pixels or more."),
        ({"#width": "4096", "#height": "2048"}, "#width", "at most 4,194,304 pixels"),
        ({"#prompt": " "}, "#prompt", "Enter a prompt."),
    ],
)
def test_problem_is_said_at_its_field(
    tab: Tab, fields: dict[str, str], wrong: str, message: str
) -> None:
    """A wrong value is explained at its field, which has the focus. Correcting it takes the message away."""
    tab.ready()
    page = tab.page
    tab.write("a house")
    page.get_by_text("Model and options").click()
    page.get_by_label("Custom").check(force=True)
    for name, value in fields.items():
        page.locator(name).fill(value)
    page.get_by_text("Model and options").click()  # closed: the problem must open it
    page.get_by_role("button", name="Generate").click()

    expect(page.locator(wrong)).to_be_focused()
    expect(page.locator(f"{wrong}-problem")).to_contain_text(message)
    assert f"{wrong[1:]}-problem" in (page.locator(wrong).get_attribute("aria-describedby") or "")
    page.locator(wrong).fill("512")
    expect(page.locator(f"{wrong}-problem")).to_have_count(0)


def test_code_never_holds_the_bytes_of_images(tab: Tab, tmp_path: Path) -> None:
    """The code reads a large image from its file."""
    (tmp_path / "my photo.png").write_bytes(image_file(600, 600) + bytes(200_000))
    tab.ready()
    tab.page.locator("#files").set_input_files(tmp_path / "my photo.png")
    expect(tab.page.get_by_alt_text("my photo.png")).to_be_visible()

    for language in ("curl", "Python", "JavaScript"):
        tab.page.get_by_role("tab", name=language).click()
        code = tab.page.locator("#snippet").inner_text()
        assert len(code) < 1000
        assert "my photo.png" in code


def test_example_generates(tab: Tab) -> None:
    """A click on an example of the empty stage generates it."""
    tab.ready()
    tab.page.locator("#examples").get_by_text("a yellow star on a purple background").click()

    expect(tab.page.get_by_role("link", name="Download")).to_be_visible(timeout=WAIT_MS)
    assert tab.page.get_by_label("Prompt").input_value() == "a yellow star on a purple background"


@pytest.mark.parametrize(("platform", "keys"), [("MacIntel", "⌘ ↵"), ("Linux x86_64", "Ctrl ↵")])
def test_shortcut_is_that_of_the_platform(
    browser: Browser, klein: Klein, platform: str, keys: str
) -> None:
    """The button shows the shortcut with the modifier of the user's keyboard."""
    with opened(browser, klein) as tab:
        tab.page.add_init_script(
            f"Object.defineProperty(navigator, 'platform', {{ get: () => '{platform}' }})"
        )
        tab.open()

        expect(tab.page.locator("#shortcut")).to_have_text(keys)


def test_loras_are_chosen_from_a_list(tab: Tab) -> None:
    """The LoRAs of the server are a list, each choice has a scale, and trigger words are shown."""
    loras = [
        {"name": "styles/ink, 2.safetensors", "problem": None, "trigger_words": ["inky"]},
        {"name": "broken.safetensors", "problem": "damaged", "trigger_words": []},
    ]
    tab.page.route("**/v1/loras*", lambda route: route.fulfill(json=loras))
    tab.ready()
    tab.page.get_by_text("Model and options").click()
    tab.page.get_by_label("Choose a LoRA").select_option("styles/ink, 2.safetensors")
    tab.page.get_by_label("Scale of styles/ink").fill("0.5")

    expect(tab.page.get_by_text("Trigger words: inky")).to_be_visible()
    expect(tab.page.locator("#lora-choice option")).to_have_count(2)
    assert '"scale": 0.5' in tab.page.locator("#snippet").inner_text()


def test_server_without_loras_has_no_list(tab: Tab) -> None:
    """If the route of LoRAs is missing, the list is hidden, and a name can be typed."""
    tab.page.route("**/v1/loras*", lambda route: route.fulfill(status=404, json={}))
    tab.ready()
    tab.page.get_by_text("Model and options").click()

    expect(tab.page.get_by_label("Choose a LoRA")).to_be_hidden()
    tab.page.locator("#loras").fill("ink.safetensors:0.8")
    assert '"scale": 0.8' in tab.page.locator("#snippet").inner_text()
    tab.faults.clear()  # the browser logs the 404


def test_form_sent_before_the_models_arrive(tab: Tab) -> None:
    """A form that is sent while the list of models is on its way waits for it."""
    held: list[Route] = []
    tab.page.route("**/v1/models", lambda route: held.append(route))  # noqa: PLW0108 -- no builtins
    tab.open()
    tab.enter()
    tab.write("a red square")
    tab.page.get_by_label("Prompt").press("Control+Enter")
    expect(tab.page.get_by_text("Sending…")).to_be_visible(timeout=WAIT_MS)

    for route in held:
        route.continue_()

    expect(tab.page.get_by_role("link", name="Download")).to_be_visible(timeout=WAIT_MS)
