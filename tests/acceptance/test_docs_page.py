"""The page at `/docs`: it loads nothing from other hosts and works under the policy that forbids it."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect

from tests.support.browser_tab import CHROMIUM
from tests.support.klein_server import served
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: `make tools` as root")


def test_page_shows_routes_without_other_hosts(
    redis_server: RedisServer, tmp_path, browser: Browser
) -> None:
    """The page lists the routes. Every request goes to this server, and the browser reports no error."""
    with served(redis_server.url, tmp_path) as (_, client), browser.new_page() as page:
        hosts: set[str] = set()
        faults: list[str] = []
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: faults.append(str(error)))

        def hear(message: ConsoleMessage) -> None:
            if message.type == "error":
                faults.append(message.text)

        page.on("console", hear)
        page.goto(f"{client.base_url}/docs")
        expect(page.locator("#swagger-ui .info .title")).to_contain_text("klein", timeout=60_000)
        expect(page.get_by_text("/v1/prediction/run").first).to_be_visible(timeout=60_000)
        page.get_by_text("/v1/prediction/run").first.click()
        expect(page.get_by_text("Try it out").first).to_be_visible(timeout=60_000)
        policy = client.get("/docs").headers["Content-Security-Policy"]

        assert hosts - {""} == {urlsplit(str(client.base_url)).netloc}
        assert faults == []
        assert "unsafe" not in policy
