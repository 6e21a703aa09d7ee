"""Sets the security headers of every response."""

from starlette.datastructures import MutableHeaders

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def set_security_headers(headers: MutableHeaders) -> None:
    """Add each header that the route has not set."""
    for name, value in _EVERYWHERE.items():
        headers.setdefault(name, value)
