"""Validates the syntax of webhook URLs. Their addresses are checked at delivery."""

from urllib.parse import urlsplit

import httpx

URL_MAX = 2048  # characters
WHAT_TO_SEND = "send an http(s) URL without a user name"


def is_url(url: str) -> bool:
    """Return whether the URL is valid."""
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)  # the client that sends webhooks; it also rejects invalid host names
    except (ValueError, httpx.InvalidURL):
        return False
    return (
        len(url) <= URL_MAX
        and url.isprintable()
        and " " not in url
        and "\\" not in url
        and parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and port != 0
    )
