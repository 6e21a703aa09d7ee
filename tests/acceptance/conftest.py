from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.api_client import LONG, create, get, until
from tests.support.browser_tab import CHROMIUM, Tab, opened
from tests.support.certificates import make_signer
from tests.support.klein_server import Klein, running_klein


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of whole systems twice the usual time limit."""
    for item in items:
        if "acceptance" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def klein(tiny_weights: Path) -> Iterator[Klein]:
    """One running system for all tests that do not harm it."""
    with running_klein(tiny_weights) as running:
        yield running


@pytest.fixture
def busy(client: httpx.Client) -> Iterator[str]:
    """The id of a prediction that keeps the only worker busy during the test."""
    prediction_id = create(client, **LONG)
    until(lambda: get(client, prediction_id)["status"] == "processing")
    yield prediction_id
    client.post(f"/v1/prediction/{prediction_id}/cancel")


@pytest.fixture(scope="session")
def varied_klein(
    tiny_base_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Klein]:
    """A second system, on a base checkpoint, with every possible setting changed."""
    certificate, key = make_signer().write(tmp_path_factory.mktemp("signer"))
    with running_klein(
        tiny_base_weights,
        KLEIN_STATUS_WORDS="documented",
        KLEIN_STRICT_INPUTS="true",
        KLEIN_ALLOW_HOSTS="127.0.0.1",
        KLEIN_BODY_MAX_BYTES="100000",
        KLEIN_C2PA_CERT=str(certificate),
        KLEIN_C2PA_KEY=str(key),
    ) as running:
        yield running


@pytest.fixture
def varied_client(varied_klein: Klein) -> Iterator[httpx.Client]:
    with varied_klein.client() as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser, klein: Klein) -> Iterator[Tab]:
    """A tab that may use the clipboard. The test fails if the tab reports an error."""
    with opened(browser, klein, permissions=["clipboard-read", "clipboard-write"]) as tab:
        yield tab
    assert tab.faults == []
