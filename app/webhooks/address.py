"""Which URLs may be asked to be told: the syntax alone; where one leads to is looked at when it is called."""

from urllib.parse import urlsplit

import httpx

URL_MAX = 2048  # characters
WHAT_TO_SEND = "send an http(s) URL without a user name"


def is_url(url: str) -> bool:
    """Say whether we would call this."""
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)  # by which it will be called, and which knows what no host can be named
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
