"""Validates the syntax of webhook URLs. The addresses of their hosts are checked at delivery."""

from urllib.parse import SplitResult, urlsplit

import httpx
from ssrfguard import SSRFGuardError

from app.safe_http import URL_MAX, check_syntax

_INVALID_HOST = "send a URL with a valid host name"


def find_problem(url: str) -> str | None:
    """Return what to send instead of an invalid URL; None for a valid one."""
    if not url.isprintable() or " " in url or "\\" in url:
        return "send a URL without spaces, backslashes and control characters"
    if len(url) > URL_MAX:
        return f"send a URL of at most {URL_MAX} characters"
    try:
        return _find_problem_of_parts(url, urlsplit(url))
    except ValueError:  # brackets around no IPv6 address
        return _INVALID_HOST


def _find_problem_of_parts(url: str, parts: SplitResult) -> str | None:
    if parts.scheme not in {"http", "https"}:
        return "send a URL that begins with http:// or https://"
    if "@" in parts.netloc:
        return "send a URL without a user name"
    if not _has_valid_port(parts):
        return "send a URL with a port from 1 to 65535"
    return None if _has_valid_host(url) else _INVALID_HOST


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _has_valid_host(url: str) -> bool:
    """Read the host as the client that delivers reads it, and as its guard does."""
    try:
        check_syntax(url)
        return bool(httpx.URL(url).host)  # decodes international names
    except (ValueError, httpx.InvalidURL, SSRFGuardError):
        return False
