"""Measures the page in a real browser and takes its screenshots for docs/page.md.

`make bench-page` runs it: with an empty cache, at full speed and slowed down as Lighthouse slows a phone.
"""

import argparse
import io
import os
import shutil
import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.processes import KEY, listening
from benchmarks.report import write_section
from benchmarks.serving import SLUG

DOCS = Path("docs")
BUILT_IN = Path("worker/weights/builtin")
VISITS = 9
WAIT_MS = 60_000
# as Lighthouse: slow 4G, and a CPU that is four times slower
LATENCY_MS = 150
DOWN_BYTES_S = 1.6 * 1024 * 1024 / 8
UP_BYTES_S = 750 * 1024 / 8
CPU_SLOWER = 4
PROMPTS = (
    "a red circle on a blue background",
    "a green triangle on a white background",
    "an orange square on a black background",
    "a white ring on a green background",
    "a blue heart on a pink background",
    "a yellow star on a purple background",
)
_GALLERY_IS_LOADED = """() => {
  const images = [...document.querySelectorAll("#gallery img")];
  return images.length && images.every((image) => image.naturalWidth);
}"""
_FIGURES = """() => {
  const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
  return {
    requests: files.length,
    bytes: files.reduce((sum, file) => sum + file.transferSize, 0),
    paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
    loaded: performance.getEntriesByType("navigation")[0].loadEventEnd,
  };
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The measurements of one visit."""

    requests: int
    kilobytes: float
    paint_ms: float
    loaded_ms: float


def visit(
    browser: Browser,
    url: str,
    *,
    is_slow: bool = False,
    is_second: bool = False,
    has_key: bool = False,
) -> Visit:
    """Open the page with an empty cache, or twice with the same cache. With a key it also loads the history."""
    context = browser.new_context(viewport={"width": 360 if is_slow else 1280, "height": 800})
    page = context.new_page()
    if is_slow:
        devtools = context.new_cdp_session(page)
        network = {"latency": LATENCY_MS, "offline": False}
        rates = {"downloadThroughput": DOWN_BYTES_S, "uploadThroughput": UP_BYTES_S}
        devtools.send("Network.enable")
        devtools.send("Network.emulateNetworkConditions", network | rates)
        devtools.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
    for _ in range(2 if is_second else 1):
        page.goto(f"{url}/#key={KEY}" if has_key else url, wait_until="networkidle")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    measured: dict[str, Any] = page.evaluate(_FIGURES)
    context.close()
    return Visit(
        requests=measured["requests"],
        kilobytes=measured["bytes"] / 1000,
        paint_ms=measured["paint"],
        loaded_ms=measured["loaded"],
    )


def row(name: str, visits: list[Visit]) -> str:
    """Format the medians of the visits."""
    paint = statistics.median(v.paint_ms for v in visits)
    loaded = statistics.median(v.loaded_ms for v in visits)
    kilobytes = statistics.median(v.kilobytes for v in visits)
    return (
        f"| {name} | {visits[0].requests} | {kilobytes:.1f} kB | {paint:.0f} ms | {loaded:.0f} ms |"
    )


def figures(browser: Browser, url: str, visits: int) -> str:
    """Measure each kind of visit and return the table."""
    kinds: dict[str, dict[str, bool]] = {
        "first visit": {},
        "second visit": {"is_second": True},
        "first visit, with a key in the link": {"has_key": True},
        "first visit, slow 4G, CPU four times slower, 360 px": {"is_slow": True},
    }
    rows = [
        row(name, [visit(browser, url, **kind) for _ in range(visits)])
        for name, kind in kinds.items()
    ]
    head = "| | requests | on the wire | first contentful paint | loaded |\n|---|---|---|---|---|"
    return "\n".join([head, *rows])


def take_screenshots(browser: Browser, url: str, folder: Path) -> None:
    """Generate some images, then take a screenshot in each theme, and one on a phone."""
    common = {"image_size": "square", "seed": 7}
    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}, timeout=120) as client:
        for prompt in PROMPTS[:-1]:
            body = {"model": SLUG, "input": common | {"prompt": prompt}}
            client.post("/v1/prediction/run", json=body).raise_for_status()
    for name, theme, width in (
        ("page", "light", 1280),
        ("page-dark", "dark", 1280),
        ("page-phone", "light", 360),
    ):
        options: dict[str, Any] = {"color_scheme": theme, "reduced_motion": "reduce"}
        if name == "page-phone":
            options |= {"has_touch": True, "is_mobile": True}
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        _generate(page, url)
        screenshot = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        screenshot.quantize(256).save(folder / f"{name}.png", optimize=True)  # a third of the bytes
        context.close()


def _generate(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("API key").press("Enter")
    page.get_by_label("Prompt").fill(PROMPTS[-1])
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("link", name="Download")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#workers")).to_have_text("1", timeout=WAIT_MS)
    page.evaluate(
        "window.scrollTo(0, document.body.scrollHeight)"
    )  # the gallery loads when it is visible
    page.wait_for_function(_GALLERY_IS_LOADED)
    expect(page.locator("#pulse")).to_have_attribute("data-state", "good", timeout=WAIT_MS)
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.move(0, 0)


def main() -> None:
    """Measure, take the screenshots, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default=str(BUILT_IN))
    parser.add_argument("--visits", type=int, default=VISITS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no chromium: `make tools` as root, or apt-get")
    with (
        listening("up", KLEIN_WEIGHTS=arguments.weights) as (port, _),
        sync_playwright() as playwright,
    ):
        url = f"http://127.0.0.1:{port}"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        table = figures(browser, url, arguments.visits)
        print(table, flush=True)
        take_screenshots(browser, url, arguments.docs)
        about = f"Chromium {browser.version}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        browser.close()
    write_section(
        arguments.docs / "page.md",
        "Performance",
        f"Measured by `make bench-page` on {datetime.now(UTC):%Y-%m-%d}: {about}, over HTTP on the same machine. Medians of "
        f"{arguments.visits} visits, by the Performance API of the browser. A second visit costs a 304 for each file.\n\n{table}",
    )


if __name__ == "__main__":
    main()
