"""Sets the security headers of every response."""

from starlette.datastructures import MutableHeaders

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_DOCS = {  # FastAPI's page loads its script and images from other hosts
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "frame-ancestors 'none'"
}
_AT = {"/docs": _EVERYWHERE | _DOCS}


def protect(headers: MutableHeaders, path: str) -> None:
    """Add each header that the route has not set."""
    for name, value in _AT.get(path, _EVERYWHERE).items():
        headers.setdefault(name, value)
